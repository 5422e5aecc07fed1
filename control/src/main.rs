//! `meshcontrol`, the control plane.

fn main() {}
