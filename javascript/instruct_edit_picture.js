// The picture of the tab "Instruct edit": a file is shown at once, sent to the WebUI once, and known there by a key from then on.

const ip2p_sent = new Map(); // by what the page shows a picture by: the promise of its key
let ip2p_next_picture = null; // what the field is about to be given, and what becomes of the mask
let ip2p_files_taken = 0;

function ip2p_shown_picture() {
    return ip2p_element('image').querySelector('[data-testid=image] img')?.getAttribute('src') ?? null;
}

// shown: what an <img> shows it by, null for no picture; mask: 'scaled', or what an <img> shows the mask by, or null for none.
function ip2p_show_picture(shown, mask = null) {
    ip2p_next_picture = {shown, mask};
    ip2p_element('set_picture').click();
}

function ip2p_give_picture() {
    return [ip2p_next_picture.shown];
}

async function ip2p_send_file(file) {
    const answer = await fetch('./internal/instruct-edit-picture', {method: 'POST', body: file, headers: {'Content-Type': 'application/octet-stream'}});
    const said = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(said.detail ?? 'The picture could not be sent to the WebUI: is it still running?');
    return said;
}

// A picture of a kind that the browser doesn't show waits for the WebUI's preview of it; what is none leaves the field as it is.
async function ip2p_take_file(file) {
    const taken = ++ip2p_files_taken;
    const sent = ip2p_send_file(file);
    const key = sent.then(said => said.key);
    key.catch(() => {});
    const address = URL.createObjectURL(file);
    const seen = await Object.assign(new Image(), {src: address}).decode().then(() => true, () => false);
    if (seen && taken === ip2p_files_taken) {
        ip2p_sent.set(address, key);
        ip2p_show_picture(address);
    }
    try {
        const {preview} = await sent;
        if (taken !== ip2p_files_taken || seen) return;
        ip2p_sent.set(preview, key);
        ip2p_show_picture(preview);
    } catch (error) {
        if (taken !== ip2p_files_taken) return;
        if (ip2p_shown_picture() === address) ip2p_show_picture(null);
        ip2p_say_error(error.message);
    }
}

// The arguments of a press of a button as the WebUI takes them: the keys of pictures in place of what the page shows them by.
function ip2p_with_keys(args) {
    return Promise.all(create_submit_args(args).map(value => ip2p_sent.get(value)?.catch(() => null) ?? value));
}

function ip2p_take_from(event, files) {
    if (!files?.length) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    ip2p_take_file(files[0]);
}

// Before Gradio's own field, which would put the whole file into the page, and every file, a text too.
window.addEventListener('change', function(event) {
    const input = event.target;
    if (input.type !== 'file' || !input.closest?.('#ip2p_image')) return;
    ip2p_take_from(event, Array.from(input.files));
    input.value = ''; // else the same file, chosen again, is no change
}, true);

window.addEventListener('drop', function(event) {
    if (event.target.closest?.('#ip2p_image')) ip2p_take_from(event, event.dataTransfer.files);
}, true);

window.addEventListener('paste', function(event) {
    const pictures = Array.from(event.clipboardData?.files ?? []).filter(file => file.type.startsWith('image/'));
    if (ip2p_element('image') && uiElementIsVisible(ip2p_element('image'))) ip2p_take_from(event, pictures);
}, true);
