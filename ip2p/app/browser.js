() => {
    // What the page does in the browser: painting where the picture may change, comparing with the original, and what makes both
    // reachable by keyboard and readable by a screen reader.
    const MASK_SIDE = 1024; // of the longer side, in pixels: the server enlarges it to the picture's size
    const COLOUR = 'rgb(255, 64, 64)';
    const canvas = Object.assign(document.createElement('canvas'), {id: 'ip2p_paint', width: 1, height: 1});
    let under = null; // a picture of what was painted before the strokes
    let strokes = []; // {erase, width, points}, in pixels of the canvas
    let sent = ''; // what the field holds

    const element = id => document.getElementById('ip2p_' + id);
    const pen = () => canvas.getContext('2d', {willReadFrequently: true});

    function draw() {
        const p = pen();
        p.globalCompositeOperation = 'source-over';
        p.clearRect(0, 0, canvas.width, canvas.height);
        if (under) p.drawImage(under, 0, 0, canvas.width, canvas.height);
        for (const {erase, width, points} of strokes) {
            p.globalCompositeOperation = erase ? 'destination-out' : 'source-over';
            p.strokeStyle = COLOUR;
            p.lineWidth = width;
            p.lineCap = p.lineJoin = 'round';
            p.beginPath();
            p.moveTo(...points[0]);
            for (const point of points) p.lineTo(...point);
            p.stroke();
        }
    }

    // The field that goes to the server.
    function keep() {
        const empty = !pen().getImageData(0, 0, canvas.width, canvas.height).data.some(level => level);
        sent = empty ? '' : canvas.toDataURL('image/png');
        const field = element('mask').querySelector('textarea, input');
        field.value = sent;
        field.dispatchEvent(new Event('input', {bubbles: true}));
        label();
    }

    function label() {
        const span = element('mask_group')?.querySelector('.label-wrap span');
        if (span) span.textContent = sent ? 'Edit only here · on' : 'Edit only here';
    }

    // What the server says is painted.
    async function show(text) {
        if (text === sent) return;
        sent = text;
        strokes = [];
        under = text ? Object.assign(new Image(), {src: text}) : null;
        await under?.decode().catch(() => {});
        draw();
        label();
    }

    // Over the shown picture, which lies whole and in the middle of its element.
    function place() {
        const image = document.querySelector('#ip2p_image img');
        if (!image?.naturalWidth) return canvas.remove();
        const scale = Math.min(MASK_SIDE / Math.max(image.naturalWidth, image.naturalHeight), 1);
        const width = Math.max(Math.round(image.naturalWidth * scale), 1);
        const height = Math.max(Math.round(image.naturalHeight * scale), 1);
        if (width !== canvas.width || height !== canvas.height) {
            const before = document.createElement('canvas');
            Object.assign(before, {width: canvas.width, height: canvas.height}).getContext('2d').drawImage(canvas, 0, 0);
            if (strokes.length) [under, strokes] = [before, []];
            Object.assign(canvas, {width, height});
            draw();
        }
        const parent = image.parentElement;
        if (canvas.parentElement !== parent) parent.append(canvas);
        parent.style.position = 'relative';
        const [box, frame] = [image.getBoundingClientRect(), parent.getBoundingClientRect()];
        const seen = Math.min(box.width / image.naturalWidth, box.height / image.naturalHeight);
        const [wide, high] = [image.naturalWidth * seen, image.naturalHeight * seen];
        Object.assign(canvas.style, {
            width: wide + 'px', height: high + 'px',
            left: box.x - frame.x + (box.width - wide) / 2 + 'px', top: box.y - frame.y + (box.height - high) / 2 + 'px',
        });
    }

    function point(event) {
        const box = canvas.getBoundingClientRect();
        return [(event.clientX - box.x) * canvas.width / box.width, (event.clientY - box.y) * canvas.height / box.height];
    }

    canvas.addEventListener('click', event => event.stopPropagation());
    canvas.addEventListener('pointerdown', event => {
        if (event.button !== 0) return;
        event.preventDefault();
        canvas.setPointerCapture(event.pointerId);
        const size = Number(element('brush').querySelector('input[type=number]').value) / 100 * Math.min(canvas.width, canvas.height) * 2;
        strokes.push({erase: element('erase').querySelector('input').checked, width: size, points: [point(event)]});
        strokes.at(-1).points.push(point(event));
        draw();
    });
    canvas.addEventListener('pointermove', event => {
        if (!canvas.hasPointerCapture(event.pointerId)) return;
        strokes.at(-1).points.push(point(event));
        draw();
    });
    for (const end of ['pointerup', 'pointercancel']) canvas.addEventListener(end, keep);

    window.ip2p = {
        show,
        paint: open => canvas.classList.toggle('ip2p-open', open),
        undo: () => {
            strokes.pop();
            draw();
            keep();
        },
    };

    // Hold to see the original: by mouse, finger, Space or Enter.
    function hold(held) {
        element('compare').classList.toggle('ip2p-held', held);
    }

    const isHold = event => event.target.closest?.('#ip2p_hold');
    const isPress = event => event.key === ' ' || event.key === 'Enter';
    document.addEventListener('pointerdown', event => isHold(event) && hold(true));
    document.addEventListener('keydown', event => isHold(event) && isPress(event) && hold(true));
    for (const end of ['pointerup', 'pointercancel', 'keyup', 'blur']) window.addEventListener(end, () => hold(false));

    // Gradio's handle follows the mouse alone: the arrow keys move it as a mouse would.
    function moveHandle(handle, share) {
        const [box, frame] = [handle.getBoundingClientRect(), handle.parentElement.getBoundingClientRect()];
        const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
        const at = {bubbles: true, cancelable: true, view: window, clientY: y};
        handle.dispatchEvent(new MouseEvent('mousedown', {...at, clientX: x}));
        window.dispatchEvent(new MouseEvent('mousemove', {...at, clientX: x + share * frame.width}));
        window.dispatchEvent(new MouseEvent('mouseup', {...at, clientX: x + share * frame.width}));
    }

    const isHandle = event => event.target.matches?.('#ip2p_compare [role=slider]');
    document.addEventListener('keydown', event => {
        const step = {ArrowLeft: -0.05, ArrowRight: 0.05, Home: -1, End: 1}[event.key];
        if (!step || !isHandle(event)) return;
        event.preventDefault();
        moveHandle(event.target, step);
        requestAnimationFrame(() => tell(event.target)); // by then Gradio has moved it
    });
    document.addEventListener('focusin', event => isHandle(event) && tell(event.target)); // the mouse may have moved it

    function tell(handle) {
        const [box, frame] = [handle.getBoundingClientRect(), handle.parentElement.getBoundingClientRect()];
        handle.setAttribute('aria-valuenow', Math.round((box.x + box.width / 2 - frame.x) / frame.width * 100));
    }

    function describe() {
        document.querySelector('#ip2p_image img')?.setAttribute('alt', 'The picture to edit');
        const [original, result] = document.querySelectorAll('#ip2p_compare img');
        original?.setAttribute('alt', 'The original');
        result?.setAttribute('alt', 'The result');
        for (const item of document.querySelectorAll('#ip2p_history .thumbnail-item')) {
            const caption = item.querySelector('.caption-label')?.textContent.trim();
            if (caption) item.setAttribute('aria-label', caption); // Gradio's says which one of how many it is
        }
        const handle = document.querySelector('#ip2p_compare [data-testid=slider]');
        if (!handle || handle.getAttribute('role') === 'slider') return;
        const roles = {role: 'slider', tabindex: '0', 'aria-label': 'Share of the original that is shown', 'aria-valuemin': '0', 'aria-valuemax': '100'};
        for (const [name, value] of Object.entries(roles)) handle.setAttribute(name, value);
        tell(handle);
    }

    const resized = new ResizeObserver(place);
    new MutationObserver(() => {
        place();
        describe();
        const image = document.querySelector('#ip2p_image img');
        if (image && image !== place.seen) {
            place.seen = image;
            image.addEventListener('load', place);
            resized.observe(image);
        }
    }).observe(document.body, {subtree: true, childList: true, attributeFilter: ['src']});
}
