use std::fs;

use crate::{
    domain::registry,
    system::{deposits, system},
};

#[tokio::test]
async fn what_the_boxes_wrote_holds() {
    let report = system().await.verify();
    assert!(report.holds(), "{report}");
    assert_eq!((report.log.head, report.log.events, report.log.commands, report.log.streams), (10, 10, 8, 3));
    assert_eq!((report.log.idempotency_records, report.log.snapshots_compared), (8, 1));
    assert_eq!((report.generations[0].rows, report.generations[0].compared_with_fold), (3, true));
    assert!(report.to_string().ends_with("VERDICT: holds. Log, rows and checkpoints agree."), "{report}");
}

#[tokio::test]
async fn verifying_changes_neither_file() {
    let system = system().await;
    system.verify();
    let read = || (fs::read(&system.log).expect("the log"), fs::read(&system.rows).expect("the rows"));
    let before = read();
    assert!(system.verify().holds());
    assert!(before == read());
}

#[tokio::test]
async fn rows_that_lag_behind_the_log_hold() {
    let system = system().await;
    let mut running = system.start().await;
    running.append("a", deposits(&[100])).await;
    let report = system.verify();
    assert!(report.holds(), "{report}");
    assert_eq!((report.log.head, report.generations[0].checkpoint), (11, 10));
    let verdict = "VERDICT: holds. Log, rows and checkpoints agree. Rows are 1 event behind the log";
    assert!(report.to_string().contains(verdict), "{report}");
}

#[tokio::test]
async fn long_streams_have_marks_that_are_compared() {
    let system = system().await;
    let mut running = system.start().await;
    running.append("a", deposits(&[1; 600])).await;
    drop(running);
    assert!(system.verify().holds());
    crate::system::tamper(&system.log, "UPDATE stream_marks SET position = position + 1 WHERE version = 512");
    assert_eq!(system.kinds(), ["stream_mark"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_beside_it_does_not_disturb() {
    let system = system().await;
    let mut running = system.start().await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (log, rows) = (system.log.clone(), system.rows.clone());
    let verifying = runtime::Runtime::tokio().worker("verify").run(move || {
        let mut reports = Vec::new();
        // On a busy machine the writer may not get its turn at once.
        while reports.len() < 15 || (head(&reports, 0) == head(&reports, reports.len() - 1) && reports.len() < 2_000) {
            reports.push(verify::run(&log, &rows, &registry()).expect("verified"));
        }
        drop(stop);
        reports
    });
    let mut stopped = Box::pin(stopped);
    while futures_pending(&mut stopped) {
        running.append("a", deposits(&[1, 2])).await;
        running.append("d", deposits(&[3])).await;
        running.fold().await;
    }
    let reports = verifying.await.expect("verified to its end");
    for report in &reports {
        assert!(report.holds(), "{report}");
    }
    assert!(head(&reports, 0) < head(&reports, reports.len() - 1), "the log grew meanwhile");
}

fn head(reports: &[verify::Report], index: usize) -> u64 {
    reports[index].log.head
}

fn futures_pending(stopped: &mut tokio::sync::oneshot::Receiver<()>) -> bool {
    matches!(stopped.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty))
}

#[tokio::test]
async fn a_file_that_is_not_there_or_not_ours_is_an_error() {
    let system = system().await;
    let elsewhere = system.log.with_file_name("nothing.sqlite3");
    let error = verify::run(&elsewhere, &system.rows, &registry()).expect_err("there is none");
    assert!(matches!(error, verify::Error::Missing { .. }), "{error}");
    assert!(!elsewhere.exists());
    let error = verify::run(&system.rows, &system.log, &registry()).expect_err("swapped");
    assert!(matches!(error, verify::Error::Log { .. }), "{error}");
    let error = verify::run(&system.log, &system.log, &registry()).expect_err("the log twice");
    assert!(matches!(error, verify::Error::Rows { .. }), "{error}");
}
