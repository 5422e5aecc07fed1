//! Under which addresses callers reach a service.

use super::Mesh;
use super::service::Service;
use crate::ip_block::IpBlock;

// === impl Mesh ===

impl Mesh {
    /// The addresses by which callers mean a service, and nothing else: those that are written for it, or
    /// that were allotted to it.
    pub fn addresses(&self, service: &Service) -> impl Iterator<Item = IpBlock> {
        let written = service.addresses.iter();
        let written = written.filter_map(|address| address.parse().ok());
        let allotted = self.allotted(service).into_iter();
        written.chain(allotted.flat_map(|it| it.addresses().map(IpBlock::from)))
    }
}
