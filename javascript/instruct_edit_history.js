// The history of the tab "Instruct edit": one of each browser window, which a reload of that window keeps.

let ip2p_page_is_new = false;
let ip2p_touched = 0; // how often the person has changed something in the tab
let ip2p_asked_at = 0; // the same when the last step was asked for
let ip2p_chosen_step = '';
let ip2p_settling = null; // the promise that the window's id is its own
const ip2p_windows = new BroadcastChannel('ip2p_windows'); // all windows with the tab in this browser

function ip2p_remember(name, value) {
    try {
        if (value === null) sessionStorage.removeItem('ip2p_' + name);
        else sessionStorage.setItem('ip2p_' + name, value);
    } catch (error) {
        console.warn(error); // a browser that keeps nothing forgets it with the page
    }
}

function ip2p_remembered(name) {
    try {
        return sessionStorage.getItem('ip2p_' + name);
    } catch (error) {
        return null;
    }
}

// The window's own id, under which the WebUI keeps its history; it stays after a reload.
function ip2p_page() {
    let page = ip2p_remembered('page');
    if (!page) {
        page = Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('');
        ip2p_page_is_new = true;
        ip2p_remember('page', page);
    }
    return [page];
}

ip2p_windows.addEventListener('message', function({data}) {
    if (data === 'who is there?') ip2p_windows.postMessage({page: ip2p_remembered('page')});
});

function ip2p_other_windows() {
    const pages = [];
    const answered = ({data}) => data.page && pages.push(data.page);
    ip2p_windows.addEventListener('message', answered);
    ip2p_windows.postMessage('who is there?');
    return new Promise(resolve => setTimeout(function() {
        ip2p_windows.removeEventListener('message', answered);
        resolve(pages);
    }, 1000));  // one that is busy answers late
}

// A copy of a window has its id and its jobs too: it gets an id of its own, and the jobs stay with the other. The only window goes on where
// the last one was closed.
async function ip2p_settle_page() {
    const [page] = ip2p_page();
    const others = await ip2p_other_windows();
    if (others.includes(page)) {
        for (const name of ['page', 'task_id', 'batch_task']) ip2p_remember(name, null);
        ip2p_page();
    } else if (ip2p_page_is_new && !others.length && !ip2p_remembered('task_id')) {
        ip2p_remember('page', localGet('ip2p_page') || page);
    }
    localSet('ip2p_page', ip2p_page()[0]);
}

// Of the loading page, before anything of it is brought back.
function ip2p_settled() {
    return ip2p_settling ??= ip2p_settle_page();
}

async function ip2p_load_history() {
    await ip2p_settled();
    setTimeout(() => ip2p_element('history_now').click());
    return ip2p_page();
}

function ip2p_say_status(text) {
    ip2p_element('status').textContent = text;
}

function ip2p_ask_history(what) {
    ip2p_asked_at = what ? ip2p_touched : 0; // a page that loads asks for what it has not yet
    if (what) ip2p_say_status('Restoring …');
    ip2p_element('history_moves').setAttribute('aria-busy', 'true');
    return [ip2p_page()[0], what];
}

// now: what the picture, the gallery, its description, its infotext and the controls have, which stays where a newer input is among it.
function ip2p_apply_restored(text, ...now) {
    ip2p_element('history_moves').setAttribute('aria-busy', 'false');
    const asked = ip2p_element('status').textContent !== '';
    const said = JSON.parse(text || '{}');
    ip2p_say_status(said.nothing ?? '');
    if (!said.picture) return now;
    if (ip2p_touched !== ip2p_asked_at) {
        if (asked) ip2p_say_status('Something was changed meanwhile, so nothing was replaced.');
        return now;
    }
    if (asked) ip2p_remember('task_id', null);
    ip2p_next_picture = {shown: said.picture, mask: said.mask};
    if (ip2p_painted_on === said.picture) ip2p_mask_for(said.picture);
    setTimeout(function() { // once the page has them
        recalculate_prompts_ip2p();
        ip2p_select_result();
    }, 200);
    const result = ip2p_remembered('task_id') ? now.slice(1, 4) : [said.gallery, said.info, said.infotext];
    return [said.picture, ...result, ...said.fields.map((value, i) => value ?? now[4 + i])];
}

function ip2p_touch() {
    ip2p_touched++;
    return [];
}

function ip2p_build_history() {
    const status = Object.assign(document.createElement('span'), {id: 'ip2p_status'});
    status.setAttribute('role', 'status');
    ip2p_element('history_moves').append(status);
    ip2p_element('history_strip').addEventListener('click', function(event) {
        const step = event.target.closest('[data-tile]');
        if (!step) return;
        ip2p_chosen_step = step.dataset.tile;
        ip2p_element('history_go_to').click();
    });
    const touched = event => event.isTrusted && !event.target.closest('#ip2p_compare') && ip2p_touched++;
    const tab = gradioApp().getElementById('tab_ip2p');
    for (const kind of ['input', 'change', 'drop', 'paste']) tab.addEventListener(kind, touched, true);
    tab.addEventListener('pointerdown', event => event.target.closest('ul.options, #ip2p_paint, #ip2p_more_or_less') && ip2p_touched++, true);
}

// On the options page: clears the history by a button of the tab, which then says so beside the button that was pressed.
function ip2p_clear_history() {
    if (confirm('Clear the history of all your edits?')) ip2p_element('clear_history')?.click();
}

function ip2p_show_cleared(text) {
    ip2p_element('cleared').textContent = text;
    return [];
}
