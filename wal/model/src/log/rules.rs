//! The wording of every rule: the right one first, then the wrong ones that the model refutes.
//!
//! `Rules::default()` is the set of rules that Seawall follows.

/// When a segment gets its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Headers {
    /// Before the file gets its name.
    #[default]
    Prepared,
    /// When the log enters the segment. The order says what has to wait for the header.
    AtRotation(HeaderOrder, BadHeader),
}

/// The action that has to wait until a header that is written at rotation is durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeaderOrder {
    /// The acknowledgement of the segment's groups.
    Acknowledgement,
    /// Nothing.
    Nothing,
}

/// The interpretation of an invalid header by recovery, where headers are written at rotation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadHeader {
    /// The header of a segment that was never entered.
    Unused,
    /// Damage, unless the block holds zeros.
    Damage,
}

/// The position that the watermark of a group names.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Watermark {
    /// The end of the last group of the durable prefix.
    #[default]
    EndOfPrefix,
    /// The start of the first group that is not known durable.
    StartOfNext,
    /// The end of the last group that was issued.
    EndOfWritten,
}

/// Which groups bound from below what was acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WatermarkOf {
    /// All heads.
    #[default]
    AllHeads,
    /// The groups that are kept.
    Prefix,
    /// The heads of the last segment that has one.
    LastSegment,
    /// The heads of the chain.
    Chain,
    /// All groups that are valid.
    ValidGroups,
}

/// The position that the groups of a segment name as the end of the log before it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum PreviousEnd {
    /// The end of the kept log.
    #[default]
    Kept,
    /// The end of the file with the number below.
    NumberBelow,
    /// The end of the kept log, but recovery reads what follows it in the earlier segment.
    NoLimit,
}

/// Where the log starts after a recovery that does not continue in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Restart {
    /// In the segment above all that are not as they were prepared.
    #[default]
    AboveUsed,
    /// In the first segment after the end that has no head.
    FirstUntouched,
    /// In the next segment.
    NextNumber,
}

/// Where the log continues in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum InPlace {
    /// After any last group but a footer, if nothing follows.
    #[default]
    AfterAny,
    /// After a mark, if nothing follows. This is correct too, and uses up a segment per kill.
    AfterMark,
    /// Never. This is correct too, and uses up a segment per open.
    Never,
}

/// The content after the last kept group that keeps the log from continuing in place.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Follows {
    /// A head, and remains where the blocks held zeros.
    #[default]
    HeadsAndRemains,
    /// A head.
    Heads,
    /// A valid group.
    ValidGroups,
    /// Nothing.
    Nothing,
}

/// When recovery takes a segment for whole without reading its groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FooterTrust {
    /// If the footer is valid and below the watermark.
    #[default]
    BelowWatermark,
    /// If the footer is valid.
    Always,
}

/// When a footer is written, and what it proves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FooterProof {
    /// After the next file exists. It proves nothing about that file.
    #[default]
    Nothing,
    /// After the next file exists. It proves that this file existed.
    NextExists,
    /// Before the next file exists. It proves that this file existed.
    NextExistsTooEarly,
}

/// The rule that determines the first live segment of the log in a directory.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum FirstLive {
    /// The largest value of the kept groups and the segment headers; the lowest link of the chain points
    /// below it.
    #[default]
    GroupsAndHeaders,
    /// The largest value of the segment headers.
    HeadersOnly,
    /// As in the right rule, but the first live segment itself must be part of the chain.
    MustBeInChain,
    /// As in the right rule, but the lowest link of the chain may point anywhere.
    LinkUnchecked,
}

/// Which file becomes a spare, and in which order its parts become durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Preparation {
    /// One spare at a time; the header, then the name; below the acknowledged first live segment.
    #[default]
    Ordered,
    /// Two spares at a time: their names become durable in any order.
    NamesUnordered,
    /// The name, then the header.
    NameFirst,
    /// Below the first live segment that the caller asked for, acknowledged or not.
    BeforeAcknowledged,
    /// The header of a released file says that its blocks hold zeros.
    UsedTakenForZeros,
}

/// How a segment with a reach is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reach {
    /// At most the reach is in flight before a group; a long group is alone and announced, footers included.
    #[default]
    Kept,
    /// Any number of blocks is in flight.
    NotBounded,
    /// A long group is alone but not announced.
    NotAnnounced,
    /// A long footer is alone but not announced.
    FooterNotAnnounced,
}

/// How far recovery reads a segment with a reach.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reading {
    /// Two times the reach and one block of zeros, unless the last head is an announcement.
    #[default]
    TwiceTheReach,
    /// The reach and one block of zeros, unless the last head is an announcement.
    ReachOnce,
    /// As in the right rule, and after an announcement too.
    AnnouncementNotHeeded,
}

/// The content of the file `CLOSED`, and its use by recovery.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Witness {
    /// The end of the durable log at a clean close; one more watermark; ignored if damaged.
    #[default]
    DurableEnd,
    /// The end of what was written, though it is not durable.
    WrittenEnd,
    /// One block more than the end of the durable log.
    OneBlockMore,
    /// The name is durable before the content.
    NamedFirst,
    /// Recovery does not use the file.
    Unread,
    /// Recovery refuses the log if the file is damaged.
    DamagedRefuses,
}

/// The wording of every rule.
#[derive(Clone, Debug)]
pub struct Rules {
    /// When a segment gets its header.
    pub headers: Headers,
    /// The position that the watermark of a group names.
    pub watermark: Watermark,
    /// Which groups bound from below what was acknowledged.
    pub watermark_of: WatermarkOf,
    /// The position that the groups of a segment name as the end of the log before it.
    pub previous_end: PreviousEnd,
    /// Where the log starts after a recovery that does not continue in place.
    pub restart: Restart,
    /// Where the log continues in place.
    pub in_place: InPlace,
    /// The content after the last kept group that keeps the log from continuing in place.
    pub follows: Follows,
    /// Open returns only after a mark at the new position is durable.
    pub open_mark: bool,
    /// An announcement counts as a mark: open writes none after it.
    pub announcement_is_mark: bool,
    /// A group is issued into a segment only if the file after it exists.
    pub spare_beyond: bool,
    /// When recovery takes a segment for whole without reading its groups.
    pub footer_trust: FooterTrust,
    /// When a footer is written, and what it proves.
    pub footer_proof: FooterProof,
    /// The rule that determines the first live segment of the log in a directory.
    pub first_live: FirstLive,
    /// Which file becomes a spare, and in which order.
    pub preparation: Preparation,
    /// The checksum of a group includes the salt of its file.
    pub salt: bool,
    /// The length of a file is compared with its header.
    pub size_checked: bool,
    /// Open syncs files and directory before it reads them.
    pub sync_at_open: bool,
    /// No write of the previous process can arrive after open has started.
    pub lock_covers_writes: bool,
    /// How a segment with a reach is written.
    pub reach: Reach,
    /// How far recovery reads a segment with a reach.
    pub reading: Reading,
    /// The content of the file `CLOSED`, and its use by recovery.
    pub witness: Witness,
}

impl Default for Rules {
    fn default() -> Rules {
        Rules {
            headers: Headers::default(),
            watermark: Watermark::default(),
            watermark_of: WatermarkOf::default(),
            previous_end: PreviousEnd::default(),
            restart: Restart::default(),
            in_place: InPlace::default(),
            follows: Follows::default(),
            open_mark: true,
            announcement_is_mark: false,
            spare_beyond: true,
            footer_trust: FooterTrust::default(),
            footer_proof: FooterProof::default(),
            first_live: FirstLive::default(),
            preparation: Preparation::default(),
            salt: true,
            size_checked: true,
            sync_at_open: true,
            lock_covers_writes: true,
            reach: Reach::default(),
            reading: Reading::default(),
            witness: Witness::default(),
        }
    }
}
