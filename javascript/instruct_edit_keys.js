// The tab "Instruct edit" by keyboard and by ear: what Gradio leaves to the mouse, and what it leaves unsaid.

function ip2p_make_accordions_buttons(tab) {
    for (const label of tab.querySelectorAll('.label-wrap')) {
        const say = () => label.setAttribute('aria-expanded', label.classList.contains('open'));
        label.tabIndex = 0;
        label.setAttribute('role', 'button');
        say();
        new MutationObserver(say).observe(label, {attributeFilter: ['class']});
        label.addEventListener('keydown', function(event) {
            if (event.target !== label || !['Enter', ' '].includes(event.key)) return;
            event.preventDefault();
            label.click();
        });
    }
}

// Gradio's field is a place to click on: beside it a button that is seen once it is reached by keyboard.
function ip2p_build_chooser() {
    const chooser = Object.assign(document.createElement('button'), {id: 'ip2p_choose', type: 'button', textContent: 'Choose a picture'});
    chooser.addEventListener('click', event => {
        event.stopPropagation();
        ip2p_element('image').querySelector('input[type=file]').click();
    });
    ip2p_element('image').querySelector('[data-testid=image]').prepend(chooser);
    ip2p_element('image').querySelector('input[type=file]').ariaLabel = 'Picture';
}

// Every picture in the gallery is called by the instruction that it was made by.
function ip2p_name_pictures() {
    const texts = ip2p_job().infotexts ?? [];
    const thumbnails = ip2p_thumbnails();
    const name = place => `Result ${place + 1}: ${(texts[place] ?? '').split('\n')[0]}`;
    thumbnails.forEach(function(thumbnail, place) {
        const image = thumbnail.querySelector('img');
        if (image && image.alt !== name(place)) image.alt = name(place);
        if (thumbnail.ariaLabel !== name(place)) thumbnail.ariaLabel = name(place);
    });
    for (const image of ip2p_element('gallery').querySelectorAll('.preview > img, .preview button > img, .livePreview img')) {
        const alt = image.closest('.livePreview') ? 'Preview of the running edit' : image.closest('.thumbnails') ? null : name(Math.max(selected_gallery_index(), 0));
        if (alt !== null && image.alt !== alt) image.alt = alt;
    }
    const picture = ip2p_element('image').querySelector('[data-testid=image] img');
    if (picture && picture.alt !== 'The picture to edit') picture.alt = 'The picture to edit';
}

// A picture dropped on the instruction brings its own back, as it does in the WebUI's own tabs.
window.addEventListener('drop', async function(event) {
    const [file] = event.dataTransfer?.files ?? [];
    if (!file || !event.target.closest?.('#ip2p_toprow .prompt')) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    const transfer = new DataTransfer();
    transfer.items.add(file);
    const input = ip2p_element('prompt_image').querySelector('input[type=file]');
    input.files = transfer.files;
    input.dispatchEvent(new Event('change'));
}, true);

// Of a slider Gradio names the handle alone, not the field beside it.
function ip2p_name_numbers(tab) {
    for (const number of tab.querySelectorAll('input[data-testid=number-input]')) {
        number.ariaLabel = number.closest('.head')?.querySelector('label span, label')?.textContent.trim() ?? '';
    }
}

// Gradio puts the focus on the selected result whenever another one comes, also while a person types elsewhere: there it stays until they go.
function ip2p_keep_focus() {
    const gallery = ip2p_element('gallery');
    let goes = false;
    for (const kind of ['pointerdown', 'keydown']) {
        window.addEventListener(kind, function() {
            goes = true;
            setTimeout(() => goes = false);
        }, true);
    }
    gallery.addEventListener('focusin', function(event) {
        const from = event.relatedTarget;
        if (!goes && from && !gallery.contains(from)) from.focus({preventScroll: true});
    });
}

function ip2p_build_keys() {
    const tab = gradioApp().getElementById('tab_ip2p');
    ip2p_name_numbers(tab);
    ip2p_make_accordions_buttons(tab);
    ip2p_build_chooser();
    ip2p_keep_focus();
    for (const name of ['gallery', 'image']) new MutationObserver(ip2p_name_pictures).observe(ip2p_element(name), {subtree: true, childList: true, attributeFilter: ['src']});
}
