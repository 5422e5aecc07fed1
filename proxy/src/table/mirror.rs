//! Where copies of requests go.

use std::sync::Arc;

use config::resource::virtual_service::Destination as Written;
use config::resource::virtual_service::HttpRoute;
use config::value::Percent;

use crate::table::share::Share;
use crate::table::split::DestinationByPort;

/// One mirror of a route.
#[derive(Debug)]
pub struct Mirror {
    /// Host as resolved.
    pub host: Arc<str>,
    /// Subset, if one is named.
    pub subset: Option<Arc<str>>,
    /// Port, if one is named.
    pub port: Option<u16>,
    /// Destination by the port that is addressed.
    pub destination: DestinationByPort,
    /// How many requests are copied.
    pub share: Share,
}

/// The mirrors of a rule as written, with the share of each; none that gets nothing.
pub(crate) fn written(rule: &HttpRoute) -> impl Iterator<Item = (&Written, Share)> {
    let single = rule.mirror.as_ref().and_then(|destination| {
        let old = rule.mirror_percent.map(|percent| Percent {
            value: f64::from(percent),
        });
        Some((destination, share(rule.mirror_percentage.or(old))?))
    });
    let several = rule.mirrors.iter().filter_map(|mirror| {
        let destination = mirror.destination.as_ref()?;
        Some((destination, share(mirror.percentage)?))
    });
    single.into_iter().chain(several)
}

/// Without a share everything is copied.
fn share(percent: Option<Percent>) -> Option<Share> {
    percent.map_or(Some(Share::ALL), Share::of)
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::resource::virtual_service::HttpMirrorPolicy;

    fn percent(value: f64) -> Option<Percent> {
        Some(Percent { value })
    }

    fn to(host: &str) -> Option<Written> {
        Some(Written {
            host: host.to_owned(),
            ..Written::default()
        })
    }

    fn shares(rule: &HttpRoute) -> Vec<(&str, f64)> {
        written(rule)
            .map(|(to, share)| (to.host.as_str(), share.percent()))
            .collect()
    }

    #[test]
    fn everything_is_copied_unless_a_share_says_less() {
        for (percentage, old, expected) in [
            (None, None, Some(100.0)),
            (percent(50.0), None, Some(50.0)),
            (percent(0.0), None, None),
            (None, Some(30), Some(30.0)),
            (None, Some(0), None),
            (percent(0.0), Some(30), None),
        ] {
            let rule = HttpRoute {
                mirror: to("shadow"),
                mirror_percentage: percentage,
                mirror_percent: old,
                ..HttpRoute::default()
            };

            let share = shares(&rule).first().map(|(_, share)| *share);
            assert_eq!(share, expected, "{percentage:?} {old:?}");
        }
    }

    #[test]
    fn each_of_several_mirrors_has_a_share_of_its_own() {
        let mirror = |host, percentage| HttpMirrorPolicy {
            destination: to(host),
            percentage,
        };
        let rule = HttpRoute {
            mirrors: vec![
                mirror("a", None),
                mirror("b", percent(0.0)),
                mirror("c", percent(0.5)),
            ],
            ..HttpRoute::default()
        };

        assert_eq!(shares(&rule), [("a", 100.0), ("c", 0.5)]);
    }
}
