//! The text that greets a person: where the page is, what runs, what to edit.

use std::fmt::Write;
use std::path::Path;

use crate::launch::Bookinfo;
use crate::layout::{Routes, shown};
use crate::scenario::{FOLDER, Scenario};

/// The greeting for a running `bookinfo`, whose `routes.yaml` is as `routes` says.
pub(crate) fn text(bookinfo: &Bookinfo, routes: Routes) -> String {
    let mut text = format!(
        "\nBookinfo is at  http://{}/productpage\n\n",
        bookinfo.page()
    );
    table(&mut text, bookinfo);
    if let Some(control) = bookinfo.control() {
        let _ = write!(
            text,
            "\nThe control plane says who has what at  http://{}/\n",
            control.http()
        );
    }
    let layout = bookinfo.layout();
    let file = shown(&layout.routes());
    let kept = match routes {
        Routes::Fresh => "",
        Routes::Kept => " (as you left it; --fresh starts over)",
    };
    let _ = write!(
        text,
        "\nWho gets which reviews is decided in\n\n  {file}{kept}\n\n\
         Change a weight there, save, and watch the page. Or copy a ready scenario over it:\n\n"
    );
    for scenario in Scenario::ALL {
        let from = shown(&Path::new(FOLDER).join(scenario.file()));
        let _ = writeln!(text, "  cp {from} {file}\n     {}", scenario.summary());
    }
    let _ = write!(
        text,
        "\nWho may call whom is decided in\n\n  {}\n",
        shown(&layout.config().join("security.yaml")),
    );
    let _ = write!(
        text,
        "\nAll other YAML is beside it, logs are in {}.\nCtrl-C stops everything.",
        shown(&layout.root().join("logs")),
    );
    text
}

/// What runs where: ports on 127.0.0.1.
fn table(text: &mut String, bookinfo: &Bookinfo) {
    let _ = writeln!(
        text,
        "  {:<16}{:>8}   its meshproxy: {:>7}{:>8}{:>8}{:>9}",
        "on 127.0.0.1", "service", "in", "out", "admin", "metrics"
    );
    let gateway = bookinfo.gateway();
    let _ = writeln!(
        text,
        "  {:<16}{:>8}                  {:>7}{:>8}{:>8}{:>9}",
        gateway.name(),
        "–",
        bookinfo.page().port(),
        "–",
        gateway.admin().port(),
        gateway.metrics().port(),
    );
    for part in bookinfo.parts() {
        let place = &part.place;
        let _ = writeln!(
            text,
            "  {:<16}{:>8}                  {:>7}{:>8}{:>8}{:>9}",
            part.sidecar.name(),
            place.app.port(),
            place.ingress.port(),
            place.egress.port(),
            part.sidecar.admin().port(),
            part.sidecar.metrics().port(),
        );
    }
}
