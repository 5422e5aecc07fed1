//! What containers are started with, read by the programs in them.

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tests::binary::{meshcontrol, meshproxy};
use tests::chart::{VARIANTS, items, named, of_kind, render, texts};

/// What a program says of `arguments` when it is asked for help behind them: whatever stands before is
/// read first.
fn read_by(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    // A variable of whoever runs the tests would count, too.
    command.env_clear().args(arguments).arg("--help");
    let output = command.output().expect("the program can be started");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

#[test]
fn programs_know_the_flags_that_their_containers_have() {
    let (control, proxy) = (meshcontrol(), meshproxy());
    let unknown = read_by(proxy, &["--contrl=https://localhost"]);
    assert!(unknown.is_err(), "{unknown:?}");

    for (what, settings) in VARIANTS {
        let objects = render(settings);
        let deployments = of_kind(&objects, "Deployment");
        let templates = deployments.map(|it| &it["spec"]["template"]);
        for pod in templates.chain(of_kind(&objects, "Pod")) {
            for container in items(&pod["spec"]["containers"]) {
                let image = container["image"].as_str().expect("an image");
                let program = match image.contains("meshcontrol:") {
                    true => control,
                    false => proxy,
                };
                let read = read_by(program, &texts(&container["args"]));
                assert!(read.is_ok(), "{what}: {image}: {read:?}");
            }
        }
    }
}

#[test]
fn proxies_know_the_variables_that_are_injected() {
    let help = read_by(meshproxy(), &[]).expect("there is help");
    let objects = render(&[]);
    let data = &named(&objects, "ConfigMap", "meshcontrol-injection")["data"];
    let template = data["template.yaml"].as_str().expect("a template");
    let template = config::strict::parse::<Value>(Path::new("template.yaml"), template);
    let template = template.expect("the template is YAML").value;

    let containers = items(&template["spec"]["containers"]);
    let names: Vec<&str> = containers
        .flat_map(|container| items(&container["env"]))
        .filter_map(|variable| variable["name"].as_str())
        .collect();

    assert!(names.len() > 10, "{names:?}");
    for name in names {
        assert!(help.contains(&format!("[env: {name}=]")), "{name}");
    }
}
