// The part "Batch" of the tab "Instruct edit": submitting, progress, and the running batch again after a reload.

function ip2p_submit_batch() {
    const id = randomId();
    ip2p_remember('batch_task', id);
    ip2p_watch_batch(id);
    const res = create_submit_args(arguments);
    res[0] = id;
    res[1] = ip2p_page()[0];
    return res;
}

function ip2p_watch_batch(id, inactivityTimeout) {
    ip2p_job_runs(id, true);
    requestProgress(id, ip2p_element('batch_container'), ip2p_element('batch_results'), function() {
        ip2p_job_runs(id, false);
    }, null, inactivityTimeout);
}

async function ip2p_restore_batch() {
    await ip2p_settled();
    const id = ip2p_remembered('batch_task');
    if (id) ip2p_watch_batch(id, 0);
    return [id];
}
