// Results of the tab "Instruct edit": which one is meant, and the next edit of it.

function ip2p_job() {
    try {
        return JSON.parse(gradioApp().querySelector('#generation_info_ip2p textarea').value);
    } catch (error) {
        return {};
    }
}

function ip2p_thumbnails() {
    return Array.from(ip2p_element('gallery').querySelectorAll('.thumbnail-item.thumbnail-small, .thumbnail-item.thumbnail-lg'));
}

// The place in the gallery of the selected result; of the last line's first where the grid, or a picture of where it acts, is selected.
function ip2p_result_place() {
    const {instruct_edit_results: results = [0], instruct_edit_shown: shown = 0} = ip2p_job();
    const selected = selected_gallery_index();
    return results.includes(selected) ? selected : shown;
}

// Whether the selected result was made fast, and so can be finished exactly.
function ip2p_is_fast() {
    return /\bInstruct edit speed: fast\b/.test(ip2p_job().infotexts?.[ip2p_result_place()] ?? '');
}

// The gallery keeps the place that was selected in the one before, or takes the grid.
async function ip2p_select_result() {
    const {infotexts, instruct_edit_results: results = [0], instruct_edit_shown: place = 0} = ip2p_job();
    if (!infotexts) return [];
    ip2p_move_handle(0);
    for (let tries = 0; tries < 60 && ip2p_thumbnails().length < results.length; tries++) await new Promise(requestAnimationFrame);
    if (selected_gallery_index() !== place) ip2p_thumbnails()[place]?.click();
    ip2p_show_handle();
    return [];
}

// A result finished otherwise: the place of the selected one in the gallery goes along.
function ip2p_change_result() {
    return [ip2p_page()[0], ip2p_result_place(), ...Array.from(arguments).slice(2, 5)]; // the gallery, its description, the detail
}

// The file of the selected result becomes the picture, and the mask comes along.
function ip2p_use_result(gallery) {
    const selected = (gallery ?? [])[ip2p_result_place()];
    const file = Array.isArray(selected) ? selected[0] : selected;
    if (file) {
        ip2p_touched++;
        ip2p_show_picture(ip2p_address_of(file.name), 'scaled');
    }
    return [];
}

function ip2p_address_of(path) {
    const [, name, version] = path.match(/^(.*?)(\?[\d.]+)?$/s);
    return 'file=' + encodeURIComponent(name).replaceAll('%2F', '/') + (version ?? '');
}
