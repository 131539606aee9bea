//! The locations of the parts of one operation, as a list or in the encoded form of a segment's index.

use std::borrow::Cow;

use crate::format::Run;
use crate::types::Location;

/// Locations of the parts of one operation, in order.
#[derive(Clone, Debug)]
pub(crate) enum Parts<'a> {
    List(Cow<'a, [Location]>),
    Run(SegmentRun<'a>),
}

/// A checked run of places in `segment`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SegmentRun<'a> {
    pub(crate) run: Run<'a>,
    pub(crate) segment: u32,
    /// Whether the payloads are compressed.
    pub(crate) packed: bool,
}

impl<'a> Parts<'a> {
    /// Number of parts.
    pub(crate) fn count(&self) -> u64 {
        match self {
            Parts::List(locations) => locations.len() as u64,
            Parts::Run(SegmentRun { run, .. }) => u64::from(run.count()),
        }
    }

    /// The same locations, as those of compressed payloads if `packed`.
    pub(crate) fn marked(self, packed: bool) -> Parts<'a> {
        match self {
            Parts::Run(run) => Parts::Run(SegmentRun { packed, ..run }),
            Parts::List(locations) if packed => {
                Parts::List(locations.iter().map(|at| Location { packed, ..*at }).collect())
            }
            list @ Parts::List(_) => list,
        }
    }

    /// The locations as a list.
    pub(crate) fn locations(&self) -> Cow<'_, [Location]> {
        match self {
            Parts::List(locations) => Cow::Borrowed(locations),
            Parts::Run(run) => Cow::Owned(run.locations().collect()),
        }
    }
}

impl<'a> From<&'a [Location]> for Parts<'a> {
    fn from(locations: &'a [Location]) -> Parts<'a> {
        Parts::List(Cow::Borrowed(locations))
    }
}

impl<'a> SegmentRun<'a> {
    /// Sum of the lengths of all payloads.
    pub(crate) fn payload_bytes(&self) -> u64 {
        self.run.frames().map(|frame| frame.payload_bytes()).sum()
    }

    fn locations(self) -> impl Iterator<Item = Location> + use<'a> {
        let SegmentRun { run, segment, packed } = self;
        run.frames().flat_map(|frame| frame.places(0)).map(move |place| place.location(segment, packed))
    }
}
