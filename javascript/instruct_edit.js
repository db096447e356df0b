// The tab "Instruct edit": submitting, progress, restoring after a reload, comparing before and after.
// All scripts of the WebUI share one global scope, so every name here starts with ip2p_.

let ip2p_before = null; // the picture of the edit in the gallery, for the comparison
let ip2p_checkpoint = null;
let ip2p_detail_timer = null;

function ip2p_element(id) {
    return gradioApp().getElementById('ip2p_' + id);
}

function ip2p_submit() {
    const id = randomId();
    localSet('ip2p_task_id', id);
    ip2p_before = ip2p_element('image').querySelector('img')?.src ?? null;
    ip2p_close_compare();
    ip2p_watch(id);
    const res = create_submit_args(arguments);
    res[0] = id;
    res[1] = ip2p_page()[0]; // the field of it is still empty on a page whose loading is not over
    return res;
}

function ip2p_submit_sheet() {
    const id = randomId();
    requestProgress(id, ip2p_element('sheet_container'), ip2p_element('sheet_cells'), function() {});
    const res = create_submit_args(arguments);
    res[0] = id;
    return res;
}

// The page's own id, under which the WebUI keeps its history; it stays after a reload.
function ip2p_page() {
    let page = localGet('ip2p_page');
    if (!page) {
        page = Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');
        localSet('ip2p_page', page);
    }
    return [page];
}

function ip2p_watch(id, inactivityTimeout) {
    showSubmitButtons('ip2p', false);
    const container = ip2p_element('gallery_container');
    requestProgress(id, container, ip2p_element('gallery'), function() {
        showSubmitButtons('ip2p', true);
        showRestoreProgressButton('ip2p', false);
    }, function() {}, inactivityTimeout);
}

// The id stays after the job is done, so that a reload brings back its result too.
function ip2p_restore() {
    const id = localGet('ip2p_task_id');
    showRestoreProgressButton('ip2p', false);
    if (id) ip2p_watch(id, 0);
    return [id ?? null];
}

// A result finished otherwise: the place of the selected one in the gallery goes along.
function ip2p_change_result() {
    return [ip2p_page()[0], selected_gallery_index(), ...Array.from(arguments).slice(2, 5)]; // the gallery, its description, the detail
}

// A person moved the slider: only then, not where a paste or a ready instruction sets it.
function ip2p_detail_moved() {
    clearTimeout(ip2p_detail_timer);
    ip2p_detail_timer = setTimeout(function() {
        const running = ip2p_element('interrupt')?.style.display === 'block';
        if (!running && ip2p_element('gallery').querySelector('img')) ip2p_element('change_detail').click();
    }, 200);
}

function ip2p_selected_result(gallery) {
    return extract_image_from_gallery(gallery ?? []);
}

function ip2p_use_checkpoint(title) {
    if (title) selectCheckpoint(title);
    return [];
}

function ip2p_close_compare() {
    const box = ip2p_element('compare');
    box.hidden = true;
    box.replaceChildren();
}

function ip2p_toggle_compare() {
    const box = ip2p_element('compare');
    const selected = ip2p_element('gallery').querySelector('.preview img, .thumbnail-item.selected img, .thumbnail-item img');
    const before = ip2p_before ?? ip2p_element('image').querySelector('img')?.src;
    if (!box.hidden) {
        ip2p_close_compare();
        return [];
    }
    if (!selected || !before) {
        box.textContent = 'There is no result to compare yet: edit a picture first.';
        box.hidden = false;
        return [];
    }
    const after = Object.assign(new Image(), {src: selected.src, alt: 'after', className: 'ip2p-after'});
    const under = Object.assign(new Image(), {src: before, alt: 'before', className: 'ip2p-before'});
    const slider = Object.assign(document.createElement('input'), {type: 'range', min: 0, max: 100, value: 50, ariaLabel: 'Before and after'});
    const place = () => box.style.setProperty('--ip2p-split', slider.value + '%');
    slider.addEventListener('input', place);
    const stage = document.createElement('div');
    stage.className = 'ip2p-stage';
    // A result at working size is squeezed by a pixel or two; a cropped one shows the middle of the picture.
    const aspect = image => image.naturalWidth / image.naturalHeight || 1;
    const fill = () => under.style.objectFit = Math.abs(Math.log(aspect(after) / aspect(under))) < 0.03 ? 'fill' : 'cover';
    Promise.all([after.decode(), under.decode()]).then(fill, function() {});
    stage.append(after, under);
    box.replaceChildren(stage, slider);
    place();
    box.hidden = false;
    return [];
}

// On the options page: clears the history by a button of the tab, which then says so beside the button that was pressed.
function ip2p_clear_history() {
    if (confirm('Clear the history of all your edits?')) ip2p_element('clear_history')?.click();
}

function ip2p_show_cleared(text) {
    ip2p_element('cleared').textContent = text;
    return [];
}

// The host's paste and send-to buttons call these by the tab's name.
function switch_to_ip2p() {
    const tab = gradioApp().getElementById('tab_ip2p');
    const tabs = Array.from(tab.parentElement.children).filter(element => element.classList.contains('tabitem'));
    gradioApp().querySelectorAll('#tabs > .tab-nav > button')[tabs.indexOf(tab)]?.click();
    return Array.from(arguments);
}

function recalculate_prompts_ip2p() {
    recalculatePromptTokens('ip2p_prompt');
    recalculatePromptTokens('ip2p_neg_prompt');
    return Array.from(arguments);
}

onUiLoaded(function() {
    if (!ip2p_element('generate')) return; // the tab is hidden, or says why it could not be built
    attachGalleryListeners('ip2p');
    setupExtraNetworksForTab('ip2p');
    ip2p_element('detail').addEventListener('change', ip2p_detail_moved);
    for (const [prompt, counter] of [['prompt', ''], ['neg_prompt', 'negative_']]) {
        const ids = ['ip2p_' + prompt, 'ip2p_' + counter + 'token_counter', 'ip2p_' + counter + 'token_button'];
        setupTokenCounting(...ids);
        toggleTokenCountingVisibility(...ids);
    }
});

onOptionsChanged(function() {
    const loaded = opts.sd_checkpoint_hash + opts.sd_model_checkpoint;
    if (ip2p_checkpoint !== null && loaded !== ip2p_checkpoint) ip2p_element('refresh_notice')?.click();
    ip2p_checkpoint = loaded;
});
