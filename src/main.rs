//! The command line of fdroid-bb.

fn main() {}
