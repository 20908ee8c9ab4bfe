//! A raw TCP forwarder, the floor that proxies are measured against: `FROM=TO…`, each an address.
//!
//! One thread that waits, reads and writes. A connection of a client has one of its own to the backend, so nothing is
//! parsed, shared or counted: a request and its response cost two reads and two writes.

mod pair;

use std::collections::HashMap;
use std::env;
use std::io::ErrorKind;
use std::net::SocketAddr;

use anyhow::{Context as _, Result, ensure};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::pair::{Ended, Pair, Side};

/// Events taken at once.
const EVENTS: usize = 1024;

fn main() -> Result<()> {
    let mut forwarder = Forwarder::new(env::args().skip(1))?;
    let mut events = Events::with_capacity(EVENTS);
    loop {
        match forwarder.poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            other => other.context("waiting for events")?,
        }
        for event in &events {
            forwarder.turn(event);
        }
    }
}

struct Forwarder {
    poll: Poll,
    listeners: Vec<(TcpListener, SocketAddr)>,
    pairs: HashMap<usize, Pair>,
    next: usize,
    buffer: Box<[u8]>,
}

impl Forwarder {
    fn new(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let poll = Poll::new().context("epoll")?;
        let mut listeners = Vec::new();
        for (token, argument) in arguments.enumerate() {
            let (from, to) = argument.split_once('=').context("each argument is FROM=TO")?;
            let mut listener = TcpListener::bind(from.parse().context("an address to listen on")?)
                .with_context(|| format!("listening on {from}"))?;
            poll.registry().register(&mut listener, Token(token), Interest::READABLE)?;
            listeners.push((listener, to.parse().context("an address to forward to")?));
        }
        ensure!(!listeners.is_empty(), "each argument is FROM=TO, and there is none");
        // Two tokens a pair, behind those of the listeners; the lower bit tells the side.
        let next = listeners.len().div_ceil(2);
        Ok(Self { poll, listeners, pairs: HashMap::new(), next, buffer: vec![0; pair::BUFFER].into() })
    }

    /// Does what there is to do about a socket.
    fn turn(&mut self, event: &Event) {
        let Token(token) = event.token();
        if token < self.listeners.len() {
            return self.accept(token);
        }
        let side = if token % 2 == 0 { Side::Client } else { Side::Backend };
        // A pair may have ended in an earlier event of the same batch.
        let Some(pair) = self.pairs.get_mut(&(token / 2)) else { return };
        if let Err(Ended) = pair.turn(side, event, &mut self.buffer) {
            self.pairs.remove(&(token / 2));
        }
    }

    fn accept(&mut self, listener: usize) {
        let (listener, to) = &self.listeners[listener];
        // Edge-triggered: whoever waits is taken now. A client that left already costs nothing more.
        while let Ok((client, _)) = listener.accept() {
            let Ok(backend) = TcpStream::connect(*to) else { continue };
            let Ok(pair) = Pair::new(client, backend, self.next, self.poll.registry()) else { continue };
            self.pairs.insert(self.next, pair);
            self.next += 1;
        }
    }
}
