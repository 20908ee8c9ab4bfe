//! An API server on loopback that answers as a script says.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use kube::{Client, Config};
use serde_json::{Value, json};

/// Answers one request after the other, each on a connection of its own; gives what was asked: method, target and body.
pub(crate) fn script(answers: Vec<(u16, Value)>) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (port, asked) = (listener.local_addr().unwrap().port(), Arc::<Mutex<Vec<String>>>::default());
    let heard = Arc::clone(&asked);
    std::thread::spawn(move || {
        for (status, answer) in answers {
            let (stream, _) = listener.accept().unwrap();
            heard.lock().unwrap().push(request(&stream));
            let body = answer.to_string() + "\n";
            let head =
                format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n");
            let _ = write!(&stream, "{head}content-length: {}\r\n\r\n{body}", body.len());
        }
    });
    (port, asked)
}

/// A client of it. Must be made on a runtime.
pub(crate) fn client(port: u16) -> Client {
    Client::try_from(Config::new(format!("http://127.0.0.1:{port}").parse().unwrap())).unwrap()
}

/// A refusal as an API server writes it.
pub(crate) fn refusal(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "as scripted", "reason": "X"})
}

fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let lines = reader.by_ref().lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let length =
        head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).unwrap();
    let first = head[0].trim_end_matches(" HTTP/1.1");
    format!("{first} {}", String::from_utf8(body).unwrap())
}
