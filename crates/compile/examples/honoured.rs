//! Prints what becomes of each field of each kind, a field a line: kind, path, type, state and reason, with tabs
//! between. `cargo xtask codegen` makes the tables of the documentation from it.

use std::io::{self, Write as _};

use portcullis_api::schema;
use portcullis_compile::{Honoured, honoured_fields};

fn main() -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (kind, path, honoured) in honoured_fields() {
        let field = schema::fields(*kind).iter().find(|field| field.path == *path);
        let type_name = field.map_or("", |field| &field.type_name);
        let (state, reason) = match honoured {
            Honoured::Yes => ("yes", ""),
            Honoured::No => ("no", ""),
            Honoured::Ignored(reason) => ("ignored", *reason),
        };
        writeln!(out, "{}\t{path}\t{type_name}\t{state}\t{reason}", kind.name())?;
    }
    Ok(())
}
