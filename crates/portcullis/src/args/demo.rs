//! Arguments of `demo`.

use clap::Args;

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave PostgreSQL out, even if it is installed
    #[arg(long)]
    pub(crate) no_postgres: bool,

    /// What is logged on standard error
    #[arg(long, env = "PORTCULLIS_LOG", value_name = "LEVEL", default_value = "warn")]
    pub(crate) log: String,
}
