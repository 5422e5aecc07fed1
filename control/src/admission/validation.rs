//! Whether a resource is right, by the code and in the words of `meshproxy check`.

use config::load;
use config::{Problem, Severity};

use super::review::{Asked, Operation, Verdict};

/// Groups of which something is read.
const GROUPS: [&str; 2] = [".istio.io", ".meshproxy.io"];

/// Judges a resource. What is no resource of ours passes unread.
pub(super) fn judge(asked: &Asked) -> Verdict {
    let is_ours = GROUPS.iter().any(|group| asked.group.ends_with(group));
    match asked.operation {
        Operation::Create | Operation::Update if is_ours => {}
        Operation::Create | Operation::Update | Operation::Other => return Verdict::allowed(),
    }
    let loaded = load::object(&asked.object, &asked.namespace);
    let told = |severity| {
        let problems = loaded.problems.iter();
        problems.filter(move |problem| problem.severity == severity)
    };
    let warnings: Vec<String> = told(Severity::Warning).map(line).collect();
    let errors: Vec<String> = told(Severity::Error).map(line).collect();
    match errors.is_empty() {
        true => Verdict::Allowed { warnings },
        false => Verdict::Refused {
            message: errors.join("\n"),
            warnings,
        },
    }
}

/// A problem as in a file, but with the resource in place of the file.
fn line(problem: &Problem) -> String {
    let parts = [&problem.resource, &problem.path, &problem.message];
    let parts: Vec<&str> = parts.iter().map(|part| part.as_str()).collect();
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(": ")
}
