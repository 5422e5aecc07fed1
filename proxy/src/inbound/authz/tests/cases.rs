//! The tables of cases in `testdata/authorization`: groups of policies, and what becomes of requests.
//! `identity.txt` tells the form. Read without anything of this project, because the scenarios with a
//! real proxy read the same files.

/// Policies and the cases that they decide.
#[derive(Debug, Default)]
pub(crate) struct Group {
    /// File and line, for messages.
    pub(crate) place: String,
    /// Documents: the policies, and settings of the mesh.
    pub(crate) documents: Vec<String>,
    pub(crate) cases: Vec<Case>,
}

/// A request, and what becomes of it.
#[derive(Debug)]
pub(crate) struct Case {
    /// File and line, for messages.
    pub(crate) place: String,
    /// As `allow p[0]` or `deny none`.
    pub(crate) verdict: String,
    /// The parts of the request.
    pub(crate) parts: Vec<Part>,
}

/// What is said of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Request(String, String),
    Tcp,
    Gateway,
    MergeSlashes,
    DecodeSlashes,
    From(String),
    Ip(String),
    To(String),
    Port(u16),
    Host(String),
    Sni(String),
    Claims(String),
    Header(String, String),
}

/// The groups of a file.
pub(crate) fn parse(name: &str, text: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut open = false;
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            open = false;
            continue;
        }
        let document = line
            .strip_prefix("policy ")
            .map(policy)
            .or_else(|| line.strip_prefix("mesh: ").map(mesh));
        match document {
            Some(document) => {
                if !open {
                    groups.push(Group {
                        place,
                        ..Group::default()
                    });
                }
                open = true;
                groups.last_mut().expect("a group").documents.push(document);
            }
            None => groups
                .last_mut()
                .expect("a group")
                .cases
                .push(case(place, line)),
        }
    }
    groups
}

fn policy(line: &str) -> String {
    let (dry_run, line) = match line.strip_prefix("dry-run ") {
        Some(line) => ("{istio.io/dry-run: 'true'}", line),
        None => ("{}", line),
    };
    let (head, spec) = line.split_once(": ").expect("NAME: SPEC");
    let (name, namespace) = head.split_once(' ').unwrap_or((head, "default"));
    format!(
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n\
         metadata: {{name: {name}, namespace: {namespace}, annotations: {dry_run}}}\nspec: {spec}\n"
    )
}

fn mesh(settings: &str) -> String {
    format!(
        "apiVersion: install.istio.io/v1alpha1\nkind: IstioOperator\nmetadata: {{name: mesh}}\n\
         spec: {{meshConfig: {settings}}}\n"
    )
}

fn case(place: String, line: &str) -> Case {
    let (verdict, request) = line.split_once('|').expect("VERDICT | REQUEST");
    Case {
        place,
        verdict: verdict.trim().to_owned(),
        parts: request.trim().split("; ").map(part).collect(),
    }
}

fn part(text: &str) -> Part {
    let rest = |word: &str| text.strip_prefix(word).map(str::to_owned);
    if let Some(claims) = rest("claims ") {
        return Part::Claims(claims);
    }
    let first = text.split(' ').next().unwrap_or_default();
    if let Some(name) = first.strip_suffix(':') {
        let value = text[first.len()..].trim();
        return Part::Header(name.to_owned(), value.to_owned());
    }
    let named = [
        ("from ", Part::From as fn(String) -> Part),
        ("ip ", Part::Ip),
        ("to ", Part::To),
        ("host ", Part::Host),
        ("sni ", Part::Sni),
        ("port ", |it| Part::Port(it.parse().expect("a port"))),
    ];
    if let Some(part) = named
        .into_iter()
        .find_map(|(word, made)| rest(word).map(made))
    {
        return part;
    }
    match text {
        "tcp" => Part::Tcp,
        "gateway" => Part::Gateway,
        "merge slashes" => Part::MergeSlashes,
        "decode slashes" => Part::DecodeSlashes,
        _ => {
            let (method, target) = text.split_once(' ').expect("METHOD TARGET");
            Part::Request(method.to_owned(), target.to_owned())
        }
    }
}
