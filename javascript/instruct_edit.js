// The tab "Instruct edit": submitting, progress, restoring after a reload.
// All scripts of the WebUI share one global scope, so every name here starts with ip2p_.

const ip2p_jobs = new Set(); // ids of those that run or wait
let ip2p_chosen_tile = ''; // the number of the cell of the contact sheet that was pressed
let ip2p_error_is_of_log = false;
let ip2p_checkpoint = null;
let ip2p_detail_timer = null;

function ip2p_element(id) {
    return gradioApp().getElementById('ip2p_' + id);
}

async function ip2p_submit() {
    const id = randomId();
    ip2p_remember('task_id', id);
    ip2p_clear_error();
    ip2p_watch(id);
    const res = await ip2p_with_keys(arguments);
    res[0] = id;
    res[1] = ip2p_page()[0]; // the field of it is still empty on a page whose loading is not over
    return res;
}

function ip2p_submit_exactly(dummy, page, place, info) {
    const id = randomId();
    ip2p_remember('task_id', id);
    ip2p_clear_error();
    ip2p_watch(id);
    return [id, ip2p_page()[0], ip2p_result_place(), info];
}

async function ip2p_submit_sheet() {
    const id = randomId();
    ip2p_clear_error();
    ip2p_job_runs(id, true);
    requestProgress(id, ip2p_element('sheet_progress'), null, () => ip2p_job_runs(id, false));
    const res = await ip2p_with_keys(arguments);
    res[0] = id;
    return res;
}

async function ip2p_submit_find() {
    const id = randomId();
    ip2p_clear_error();
    ip2p_job_runs(id, true);
    requestProgress(id, ip2p_element('gallery_container'), null, () => ip2p_job_runs(id, false));
    const res = await ip2p_with_keys(arguments);
    res[0] = id;
    return res;
}

// Interrupt is there, and Esc works, as long as a job of this window runs or waits.
function ip2p_job_runs(id, runs) {
    if (runs) ip2p_jobs.add(id);
    else ip2p_jobs.delete(id);
    if (!runs) setTimeout(() => ip2p_say_error_of_log(true), 300); // the same sentence twice changes nothing that could be observed
    showSubmitButtons('ip2p', !ip2p_jobs.size);
    gradioApp().getElementById('tab_ip2p').classList.toggle('ip2p-busy', ip2p_jobs.size > 0);
}

function ip2p_interrupt_job() {
    ip2p_element(ip2p_element('interrupting').style.display === 'block' ? 'interrupting' : 'interrupt').click();
    return [];
}

function ip2p_watch(id, inactivityTimeout) {
    ip2p_job_runs(id, true);
    const container = ip2p_element('gallery_container');
    requestProgress(id, container, ip2p_element('gallery'), function() {
        ip2p_job_runs(id, false);
        showRestoreProgressButton('ip2p', false);
    }, function() {}, inactivityTimeout);
}

// The id stays after the job is done, so that a reload brings back its result too.
async function ip2p_restore() {
    await ip2p_settled();
    const id = ip2p_remembered('task_id');
    showRestoreProgressButton('ip2p', false);
    if (id) ip2p_watch(id, 0);
    return [id ?? null];
}

// A cell of the contact sheet: its scales and its seed, and no drawing of others.
function ip2p_chosen_cell(settings) {
    return [...JSON.parse(settings)[ip2p_chosen_tile], false];
}

// A person moved the slider: only then, not where a paste or a ready instruction sets it.
function ip2p_detail_moved() {
    clearTimeout(ip2p_detail_timer);
    ip2p_detail_timer = setTimeout(function() {
        const running = ip2p_element('interrupt')?.style.display === 'block';
        if (!running && ip2p_element('gallery').querySelector('img')) ip2p_element('change_detail').click();
    }, 200);
}

// A sentence above everything, read out, which goes with the next press or with ×.
function ip2p_say_error(text) {
    const box = ip2p_element('error');
    box.querySelector('span').textContent = text;
    box.hidden = false;
    ip2p_error_is_of_log = false;
    box.scrollIntoView({block: 'nearest'});
}

function ip2p_clear_error() {
    ip2p_error_is_of_log = false;
    ip2p_element('error').hidden = true;
}

// What the WebUI says of the last press, once; a press that went well takes it away again.
function ip2p_say_error_of_log(again) {
    const error = gradioApp().querySelector('#html_log_ip2p .error');
    if (error && (again || !error.dataset.said)) {
        error.dataset.said = 'said';
        ip2p_say_error(error.textContent);
        ip2p_error_is_of_log = true;
    } else if (!error && ip2p_error_is_of_log) {
        ip2p_clear_error();
    }
}

function ip2p_build_error() {
    const box = Object.assign(document.createElement('div'), {id: 'ip2p_error', hidden: true});
    box.setAttribute('role', 'alert');
    const close = Object.assign(document.createElement('button'), {type: 'button', textContent: '×', ariaLabel: 'Close'});
    close.addEventListener('click', ip2p_clear_error);
    box.append(document.createElement('span'), close);
    ip2p_element('toprow').after(box);
    new MutationObserver(() => ip2p_say_error_of_log(false)).observe(gradioApp().querySelector('#html_log_ip2p'), {subtree: true, childList: true});
}

// A notice that was closed stays away in this browser; another one, and a failure, are shown.
function ip2p_closed_notice(notice) {
    return 'ip2p_closed: ' + notice.querySelector('summary, span').textContent;
}

function ip2p_hide_closed_notice() {
    const notice = ip2p_element('notice').querySelector('.ip2p-notice:not(.error)');
    if (notice) notice.hidden = Boolean(localGet(ip2p_closed_notice(notice)));
}

function ip2p_build_notice() {
    const box = ip2p_element('notice');
    box.addEventListener('click', function(event) {
        const notice = event.target.closest('.ip2p-notice');
        if (!notice || event.target.tagName !== 'BUTTON') return;
        if (!notice.matches('.error')) localSet(ip2p_closed_notice(notice), 'closed');
        notice.hidden = true;
    });
    new MutationObserver(ip2p_hide_closed_notice).observe(box, {subtree: true, childList: true});
    ip2p_hide_closed_notice();
}

// What suits the loaded model, in place of what the controls had when it was asked for: a group in which something was set meanwhile stays.
function ip2p_suit(text, ...now) {
    const suits = JSON.parse(text || '[]');
    const touched = new Set(suits.filter(([, asked], i) => now[i] !== asked).map(([group]) => group));
    return now.map((value, i) => suits[i] && !touched.has(suits[i][0]) ? suits[i][2] : value);
}

function ip2p_use_checkpoint(title) {
    if (title) selectCheckpoint(title);
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
    ip2p_build_error();
    ip2p_build_notice();
    ip2p_build_painter();
    ip2p_build_history();
    ip2p_build_keys();
    ip2p_build_compare();
    ip2p_element('sheet_cells').addEventListener('click', function(event) {
        const cell = event.target.closest('[data-tile]');
        if (!cell) return;
        ip2p_chosen_tile = cell.dataset.tile;
        ip2p_element('sheet_chosen').click();
    });
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
