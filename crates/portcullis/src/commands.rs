//! The commands; each ends with an [`Exit`](crate::Exit).

pub(crate) mod check;
pub(crate) mod crds;
pub(crate) mod demo;
pub(crate) mod doctor;
pub(crate) mod explain;
pub(crate) mod offline;
pub(crate) mod run;
pub(crate) mod test;
mod unite;
pub(crate) mod version;
