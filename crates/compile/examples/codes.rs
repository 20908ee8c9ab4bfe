//! Prints every diagnostic code: code, title, severity and meaning, with tabs between. `cargo xtask codegen` makes
//! the table in `docs/diagnostics.md` of it.

use std::io::{Result, Write as _, stdout};

use portcullis_compile::Code;

fn main() -> Result<()> {
    let mut out = stdout().lock();
    for code in Code::ALL {
        writeln!(out, "{}\t{}\t{}\t{}", code.code(), code.title(), code.severity(), code.meaning())?;
    }
    Ok(())
}
