//! Many sessions at once, and many bytes through one.

use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::time::Duration;

use portcullis_tests::postgres::{Psql, Which};
use portcullis_tests::process::Running;

use crate::rig::Databases;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn two_hundred_sessions_are_told_apart_by_name() {
    const EACH: usize = 100;
    let Some(databases) = Databases::start(Which::System, &["a.test", "b.test"]) else { return };
    // Each session waits until the lock is free, so that all are open at once.
    let holds = |place: usize| {
        let direct = Psql::new("direct.test", databases.servers[place].port());
        Held::new(&direct)
    };
    let held = [holds(0), holds(1)];
    let sessions: Vec<(&str, Running)> = ["a", "b"]
        .into_iter()
        .flat_map(|name| (0..EACH).map(move |_| name))
        .map(|name| {
            let psql = databases.psql(&format!("{name}.test"), "require");
            let sql = "select pg_advisory_lock_shared(1); select current_setting('cluster_name')";
            (name, psql.with("connect_timeout", "60").spawn(sql).unwrap())
        })
        .collect();
    for (place, held) in held.into_iter().enumerate() {
        let direct = Psql::new("direct.test", databases.servers[place].port());
        assert!(crate::rig::running(&direct, "select pg_advisory_lock_shared", &EACH.to_string()));
        held.release();
    }
    for (name, session) in sessions {
        let finished = session.finish(LIMIT).unwrap();
        assert_eq!(finished.stdout.trim(), name, "{}", finished.stderr);
    }
    let lines = databases.gateway.log_lines(2 * EACH);
    for line in &lines {
        let name = line["requested_server_name"].as_str().unwrap().trim_end_matches(".test");
        assert_eq!(line["upstream_cluster"], format!("outbound|5432||{name}.default.svc.cluster.local"));
    }
    // psql and its server both close at once, each with a last word of the other unread: now and then, on a busy
    // machine, the reset is seen before the farewell.
    let flagged: Vec<_> = lines.iter().filter(|line| line["response_flags"] != "-").collect();
    assert!(flagged.len() <= EACH / 20, "{flagged:?}");
}

/// A session that holds a lock until it is told to end.
struct Held(Child);

impl Held {
    fn new(direct: &Psql) -> Self {
        let mut child = direct.command().stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.as_ref().unwrap();
        writeln!(input, "select pg_advisory_lock(1); select 'held';").unwrap();
        let mut said = String::new();
        let mut output = child.stdout.take().unwrap();
        while !said.contains("held") {
            let mut byte = [0];
            output.read_exact(&mut byte).unwrap();
            said.push(char::from(byte[0]));
        }
        Self(child)
    }

    fn release(mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// The slow one: a gibibyte each way.
#[test]
fn a_gibibyte_is_copied_both_ways_in_flat_memory() {
    const ROWS: u64 = 1024;
    const ROW: u64 = 1024 * 1024;
    /// What the gateway may need for a connection, its buffers and what the allocator keeps, in KiB.
    const GROWTH: u64 = 8 * 1024;
    let Some(databases) = Databases::start(Which::System, &["a.test"]) else { return };
    let psql = databases.psql("a.test", "require");
    let table =
        "create unlogged table blob (content text); alter table blob alter content set storage external";
    assert_eq!(psql.run(table).unwrap().stderr, "");
    let before = databases.gateway.resident();
    let mut highest = before;

    let mut into = psql.command();
    into.args(["-c", "copy blob from stdin"]).stdin(Stdio::piped());
    let mut child = into.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let row = [vec![b'x'; ROW as usize - 1], vec![b'\n']].concat();
    for _ in 0..ROWS {
        input.write_all(&row).unwrap();
        highest = highest.max(databases.gateway.resident());
    }
    drop(input);
    assert!(child.wait().unwrap().success());

    let mut out = psql.command();
    out.args(["-c", "copy blob to stdout"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = out.spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut buffer = vec![0; ROW as usize];
    let mut copied = 0;
    loop {
        let length = output.read(&mut buffer).unwrap();
        if length == 0 {
            break;
        }
        copied += length as u64;
        highest = highest.max(databases.gateway.resident());
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(copied, ROWS * ROW);
    assert!(highest <= before + GROWTH, "from {before} to {highest} KiB");
}
