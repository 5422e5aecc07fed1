//! What `helm` makes of the chart, without a cluster: that it takes the values it should and no others,
//! and that what it renders has the rights and limits that it promises.

mod flags;
mod injection;
mod objects;
mod pods;
mod rights;
mod selectors;
mod values;
