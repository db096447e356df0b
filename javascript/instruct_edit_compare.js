// Before and after in the tab "Instruct edit": a handle over the selected result uncovers what it was made of, and holding shows that alone.

// The selected result, as the gallery shows it large, and what it was made of. Nothing where no result is selected, as with the grid.
function ip2p_compared() {
    const {instruct_edit_before: before, instruct_edit_results: results = [0]} = ip2p_job();
    const after = ip2p_element('gallery').querySelector('.preview > img');
    return after && before && results.includes(selected_gallery_index()) ? {after, before} : null;
}

function ip2p_show_handle() {
    const compared = ip2p_compared();
    ip2p_element('hold').disabled = !compared;
    ip2p_element('finish_exactly').style.display = ip2p_is_fast() ? '' : 'none';
    if (!compared) {
        ip2p_element('compare')?.remove();
        return;
    }
    const box = ip2p_element('compare') ?? ip2p_build_handle(compared.after);
    const under = box.querySelector('img');
    if (under.getAttribute('src') !== compared.before) under.src = compared.before;
    ip2p_place_handle();
}

function ip2p_build_handle(after) {
    const box = Object.assign(document.createElement('div'), {id: 'ip2p_compare'});
    const under = Object.assign(new Image(), {alt: 'The original'});
    const label = 'Share of the original that is shown';
    const slider = Object.assign(document.createElement('input'), {type: 'range', min: 0, max: 100, value: 0, ariaLabel: label});
    slider.addEventListener('input', () => ip2p_move_handle(slider.value));
    slider.addEventListener('keydown', event => event.key.startsWith('Arrow') && event.stopPropagation()); // else the gallery takes the next one
    ip2p_follow_pointer(slider);
    box.append(under, slider);
    after.parentElement.append(box);
    return box;
}

// Left to itself the browser drags the picture below the handle away.
function ip2p_follow_pointer(slider) {
    const follow = function(event) {
        const {x, width} = slider.parentElement.getBoundingClientRect();
        ip2p_move_handle(Math.min(Math.max((event.clientX - x) / width, 0), 1) * 100);
    };
    slider.addEventListener('mousedown', function(event) {
        event.preventDefault();
        slider.focus();
    });
    slider.addEventListener('pointerdown', event => slider.setPointerCapture(event.pointerId));
    slider.addEventListener('pointermove', event => slider.hasPointerCapture(event.pointerId) && follow(event));
}

function ip2p_move_handle(percent) {
    const box = ip2p_element('compare');
    if (!box) return;
    box.querySelector('input').value = percent;
    box.style.setProperty('--ip2p-split', percent + '%');
}

// Exactly over the result, which lies whole in the middle of its field.
function ip2p_place_handle() {
    const box = ip2p_element('compare');
    if (!box) return;
    const [after, under] = [box.parentElement.querySelector(':scope > img'), box.querySelector('img')];
    const [wide, high] = [after.naturalWidth, after.naturalHeight];
    const field = {x: after.offsetLeft, y: after.offsetTop, width: after.offsetWidth, height: after.offsetHeight};
    const {left, top, scale} = ip2p_contained(field, wide, high);
    Object.assign(box.style, {left: left + 'px', top: top + 'px', width: wide * scale + 'px', height: high * scale + 'px'});
    // A result at working size is squeezed by a pixel or two; a cropped one shows the middle of the picture.
    const stretched = Math.log(wide * under.naturalHeight / (high * under.naturalWidth));
    under.style.objectFit = Math.abs(stretched) < 0.03 ? 'fill' : 'cover';
}

// By mouse, finger, Space or Enter.
function ip2p_connect_hold() {
    const button = ip2p_element('hold');
    const hold = held => ip2p_element('gallery').classList.toggle('ip2p-held', held);
    button.addEventListener('pointerdown', () => hold(true));
    button.addEventListener('keydown', event => [' ', 'Enter'].includes(event.key) && hold(true));
    for (const end of ['pointerup', 'pointercancel', 'keyup', 'blur']) window.addEventListener(end, () => hold(false));
}

function ip2p_build_compare() {
    const gallery = ip2p_element('gallery');
    ip2p_connect_hold();
    ip2p_show_handle();
    new MutationObserver(ip2p_show_handle).observe(gallery, {subtree: true, childList: true, attributeFilter: ['src']});
    new ResizeObserver(ip2p_place_handle).observe(gallery);
    gallery.addEventListener('load', ip2p_place_handle, true);
}
