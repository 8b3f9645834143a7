//! The treefort program.

fn main() {}
