// Results of the tab "Instruct edit": which one is meant, the comparison with what it was made from, and the next edit of it.

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

// The gallery keeps the place that was selected in the one before, or takes the grid.
async function ip2p_select_result() {
    const {infotexts, instruct_edit_results: results = [0], instruct_edit_shown: place = 0} = ip2p_job();
    if (!infotexts) return [];
    for (let tries = 0; tries < 60 && ip2p_thumbnails().length < results.length; tries++) await new Promise(requestAnimationFrame);
    if (selected_gallery_index() !== place) ip2p_thumbnails()[place]?.click();
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

function ip2p_close_compare() {
    const box = ip2p_element('compare');
    box.hidden = true;
    box.replaceChildren();
}

function ip2p_toggle_compare() {
    const box = ip2p_element('compare');
    const result = ip2p_thumbnails()[ip2p_result_place()]?.querySelector('img');
    const before = ip2p_before ?? ip2p_shown_picture();
    if (!box.hidden) {
        ip2p_close_compare();
        return [];
    }
    if (!result || !before) {
        box.textContent = 'There is no result to compare yet: edit a picture first.';
        box.hidden = false;
        return [];
    }
    const after = Object.assign(new Image(), {src: result.src, alt: 'after', className: 'ip2p-after'});
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
