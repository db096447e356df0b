// Painting on the picture of the tab "Instruct edit" where it may change. The mask belongs to its picture.

const IP2P_MASK_SIDE = 1024; // of the longer side, in pixels: the WebUI enlarges it to the picture's size
let ip2p_canvas = null; // over the picture: what is painted, opaque in the brush's colour, clear beside it
let ip2p_under = null; // a canvas of what was there before the strokes
let ip2p_strokes = []; // {erase, width, points}, in pixels of the canvas
let ip2p_found = null; // a grey picture of where the instruction acts, from which the threshold cuts what is painted
let ip2p_painted_on = null; // the picture that the mask belongs to

function ip2p_painting() {
    return ip2p_element('mask_accordion').querySelector('.label-wrap').classList.contains('open');
}

function ip2p_pen(canvas) {
    return canvas.getContext('2d', {willReadFrequently: true});
}

function ip2p_draw_mask() {
    const pen = ip2p_pen(ip2p_canvas);
    pen.clearRect(0, 0, ip2p_canvas.width, ip2p_canvas.height);
    if (ip2p_under) pen.drawImage(ip2p_under, 0, 0, ip2p_canvas.width, ip2p_canvas.height);
    for (const {erase, width, points} of ip2p_strokes) {
        pen.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
        pen.strokeStyle = ip2p_brush_colour();
        pen.lineWidth = width;
        pen.lineCap = pen.lineJoin = 'round';
        pen.beginPath();
        pen.moveTo(...points[0]);
        for (const point of points) pen.lineTo(...point);
        pen.stroke();
    }
    pen.globalCompositeOperation = 'source-over';
}

function ip2p_mask_is_empty() {
    return !ip2p_pen(ip2p_canvas).getImageData(0, 0, ip2p_canvas.width, ip2p_canvas.height).data.some(level => level);
}

// The field that goes to the WebUI, and what the closed accordion says.
function ip2p_keep_mask() {
    const empty = ip2p_mask_is_empty();
    const field = ip2p_element('mask').querySelector('textarea');
    field.value = empty ? '' : ip2p_canvas.toDataURL('image/png');
    updateInput(field);
    ip2p_element('mask_accordion').querySelector('.label-wrap span').textContent = empty ? 'Edit only here' : 'Edit only here · on';
}

// The whole of `picture` drawn over the whole canvas, cut around its middle where their aspects differ.
function ip2p_covering(picture, width, height) {
    const [wide, high] = [picture.naturalWidth ?? picture.width, picture.naturalHeight ?? picture.height];
    const scale = Math.max(width / wide, height / high);
    const canvas = Object.assign(document.createElement('canvas'), {width, height});
    ip2p_pen(canvas).drawImage(picture, (width - wide * scale) / 2, (height - high * scale) / 2, wide * scale, high * scale);
    return canvas;
}

function ip2p_brush_colour() {
    return opts.img2img_inpaint_mask_brush_color || '#ffffff';
}

function ip2p_tint(canvas) {
    const pen = ip2p_pen(canvas);
    pen.globalCompositeOperation = 'source-in';
    pen.fillStyle = ip2p_brush_colour();
    pen.fillRect(0, 0, canvas.width, canvas.height);
}

// Another picture is in the field: the mask goes with the one before, unless it is said to come along.
async function ip2p_picture_changed() {
    const shown = ip2p_shown_picture();
    if (shown === ip2p_painted_on) return;
    ip2p_clear_error();
    await ip2p_mask_for(shown);
}

async function ip2p_mask_for(shown) {
    ip2p_painted_on = shown;
    const mask = ip2p_next_picture?.shown === shown ? ip2p_next_picture.mask : null;
    const before = mask === 'scaled' && !ip2p_mask_is_empty() ? ip2p_covering(ip2p_canvas, ip2p_canvas.width, ip2p_canvas.height) : null;
    ip2p_strokes = [];
    ip2p_under = ip2p_found = null;
    ip2p_draw_mask();
    ip2p_keep_mask();
    if (!shown) return;
    const picture = Object.assign(new Image(), {src: shown});
    const painted = mask && mask !== 'scaled' ? Object.assign(new Image(), {src: mask}) : null;
    await Promise.all([picture.decode(), painted?.decode()]).catch(() => {});
    if (shown !== ip2p_painted_on || !picture.naturalWidth) return;
    const scale = Math.min(IP2P_MASK_SIDE / Math.max(picture.naturalWidth, picture.naturalHeight), 1);
    ip2p_canvas.width = Math.max(Math.round(picture.naturalWidth * scale), 1);
    ip2p_canvas.height = Math.max(Math.round(picture.naturalHeight * scale), 1);
    const under = before ?? (painted?.naturalWidth ? painted : null);
    ip2p_under = under && ip2p_covering(under, ip2p_canvas.width, ip2p_canvas.height);
    if (ip2p_under) ip2p_tint(ip2p_under);
    ip2p_draw_mask();
    ip2p_keep_mask();
}

// What was found takes the place of what is painted; strokes mend it afterwards.
async function ip2p_paint_found(levels) {
    if (!levels) return [];
    const picture = Object.assign(new Image(), {src: levels});
    await picture.decode();
    ip2p_found = picture;
    ip2p_strokes = [];
    ip2p_cut_found();
    return [];
}

const IP2P_SOFT = 0.2; // as SOFT in relevance.py: width of the step from nothing to all

function ip2p_cut_found() {
    if (!ip2p_found) return;
    ip2p_under = ip2p_covering(ip2p_found, ip2p_canvas.width, ip2p_canvas.height);
    const pen = ip2p_pen(ip2p_under);
    const pixels = pen.getImageData(0, 0, ip2p_under.width, ip2p_under.height);
    const threshold = ip2p_element('threshold').value / 100;
    for (let i = 0; i < pixels.data.length; i += 4) pixels.data[i + 3] = 255 * ((pixels.data[i] / 255 - threshold) / IP2P_SOFT + 0.5);
    pen.putImageData(pixels, 0, 0);
    ip2p_tint(ip2p_under);
    ip2p_draw_mask();
    ip2p_keep_mask();
}

// Where a picture lies that is shown whole and in the middle of a field, and how many pixels of the screen one of its own takes.
function ip2p_contained({x, y, width, height}, wide, high) {
    const scale = Math.min(width / wide, height / high) || 1;
    return {left: x + (width - wide * scale) / 2, top: y + (height - high * scale) / 2, scale};
}

// Where on the canvas, which lies as the picture does.
function ip2p_place_on_canvas(event) {
    const {left, top, scale} = ip2p_contained(ip2p_canvas.getBoundingClientRect(), ip2p_canvas.width, ip2p_canvas.height);
    return {point: [(event.clientX - left) / scale, (event.clientY - top) / scale], scale};
}

function ip2p_brush_width() {
    return ip2p_element('brush').value / 100 * Math.min(ip2p_canvas.width, ip2p_canvas.height) * 2;
}

function ip2p_show_ring(event) {
    const ring = ip2p_element('ring');
    const box = ip2p_canvas.parentElement.getBoundingClientRect();
    const {scale} = ip2p_place_on_canvas(event);
    const size = ip2p_brush_width() * scale;
    Object.assign(ring.style, {width: size + 'px', height: size + 'px', left: event.clientX - box.x - size / 2 + 'px', top: event.clientY - box.y - size / 2 + 'px'});
    ring.hidden = false;
}

function ip2p_connect_canvas() {
    ip2p_canvas.addEventListener('click', event => event.stopPropagation()); // else Gradio's field asks for a file
    ip2p_canvas.addEventListener('pointerdown', function(event) {
        if (event.button !== 0) return;
        event.preventDefault();
        ip2p_canvas.setPointerCapture(event.pointerId);
        ip2p_strokes.push({erase: ip2p_element('erase').checked, width: ip2p_brush_width(), points: [ip2p_place_on_canvas(event).point]});
        ip2p_draw_mask();
    });
    ip2p_canvas.addEventListener('pointermove', function(event) {
        ip2p_show_ring(event);
        if (!ip2p_canvas.hasPointerCapture(event.pointerId)) return;
        ip2p_strokes.at(-1).points.push(ip2p_place_on_canvas(event).point);
        ip2p_draw_mask();
    });
    ip2p_canvas.addEventListener('pointerleave', () => ip2p_element('ring').hidden = true);
    for (const end of ['pointerup', 'pointercancel']) ip2p_canvas.addEventListener(end, ip2p_keep_mask);
}

function ip2p_build_painter() {
    ip2p_canvas = Object.assign(document.createElement('canvas'), {id: 'ip2p_paint', width: 1, height: 1});
    const ring = Object.assign(document.createElement('div'), {id: 'ip2p_ring', hidden: true});
    ip2p_element('image').querySelector('[data-testid=image]').append(ip2p_canvas, ring);
    ip2p_connect_canvas();
    ip2p_element('unpaint').addEventListener('click', function() {
        ip2p_strokes.pop();
        ip2p_draw_mask();
        ip2p_keep_mask();
    });
    ip2p_element('clear_mask').addEventListener('click', function() {
        ip2p_strokes = [];
        ip2p_under = ip2p_found = null;
        ip2p_draw_mask();
        ip2p_keep_mask();
    });
    ip2p_element('find').addEventListener('click', () => ip2p_element('find_region').click());
    ip2p_element('threshold').addEventListener('input', ip2p_cut_found);
    new MutationObserver(ip2p_picture_changed).observe(ip2p_element('image'), {subtree: true, childList: true, attributeFilter: ['src']});
    const accordion = ip2p_element('mask_accordion').querySelector('.label-wrap');
    new MutationObserver(() => ip2p_canvas.classList.toggle('ip2p-open', ip2p_painting())).observe(accordion, {attributeFilter: ['class']});
}
