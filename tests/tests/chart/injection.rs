//! What the chart hands the injector, as the injector reads it.

use std::path::Path;

use control::inject::{Settings, Template};
use tests::chart::{VARIANTS, named, render};

#[test]
fn the_injector_reads_template_and_settings_of_the_chart() {
    for (what, settings) in VARIANTS {
        let objects = render(settings);
        let data = &named(&objects, "ConfigMap", "meshcontrol-injection")["data"];
        let text = |name: &str| data[name].as_str().expect("a text").to_owned();

        let template = Template::parse(Path::new("template.yaml"), &text("template.yaml"));
        template.unwrap_or_else(|problems| panic!("{what}: {problems:?}"));
        let settings = Settings::parse(Path::new("values.yaml"), &text("values.yaml"));
        let settings = settings.unwrap_or_else(|problems| panic!("{what}: {problems:?}"));
        assert!(
            settings.control.starts_with("https://meshcontrol."),
            "{what}"
        );
    }
}
