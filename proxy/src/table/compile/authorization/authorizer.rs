//! Authorizers of the mesh's configuration that policies name.

use config::mesh::Mesh;
use config::resource::mesh_config::{Authorizer as Written, HttpAuthorizer as WrittenHttp};
use http::StatusCode;

use crate::inbound::authz::external::{
    Authorizer, HttpAuthorizer, Included, Names, Speaks, TIMEOUT_DEFAULT,
};
use crate::table::compile::destinations::Registry;

/// The authorizer that policies call `name`; none if there is none.
pub(super) fn compile(mesh: &Mesh, registry: &mut Registry, name: &str) -> Option<Authorizer> {
    let (provider, written_in) = mesh.provider(name)?;
    let written = provider.authorizer()?;
    let namespace = written.namespace().unwrap_or(written_in);
    let host = mesh.resolve(written.host(), namespace);
    let (_, port) = written.service();
    let status = written.status_on_error();
    let status = status.and_then(|status| status.parse::<StatusCode>().ok());
    let timeout = written.timeout().map(config::value::Duration::get);
    let included = written.body().map(|body| Included {
        bytes_max: usize::try_from(body.max_request_bytes).unwrap_or(usize::MAX),
        partial: body.allow_partial_message,
        as_bytes: body.pack_as_bytes,
    });
    Some(Authorizer {
        place: registry.service_place(mesh, &host, u16::try_from(port).unwrap_or(0)),
        speaks: match written {
            Written::Http(http) => Speaks::Http(Box::new(http_authorizer(http))),
            Written::Grpc(_) => Speaks::Grpc,
        },
        timeout: timeout.unwrap_or(TIMEOUT_DEFAULT),
        fails_open: written.fails_open(),
        status_on_error: status.unwrap_or(StatusCode::FORBIDDEN),
        body: included,
    })
}

fn http_authorizer(written: &WrittenHttp) -> HttpAuthorizer {
    let mut request_headers = written.include_headers_in_check.clone();
    request_headers.extend(written.include_request_headers_in_check.iter().cloned());
    let additional = written.include_additional_headers_in_check.iter();
    let additional =
        additional.filter_map(|(name, value)| Some((name.parse().ok()?, value.parse().ok()?)));
    let refused = &written.headers_to_downstream_on_deny;
    HttpAuthorizer {
        path_prefix: written.path_prefix.as_deref().unwrap_or_default().into(),
        request_headers: Names::new(&request_headers),
        additional: additional.collect(),
        to_upstream: Names::new(&written.headers_to_upstream_on_allow),
        to_downstream: Names::new(&written.headers_to_downstream_on_allow),
        to_refused: (!refused.is_empty()).then(|| Names::new(refused)),
    }
}
