//! Questions to each zone, with expected results.

use crate::Verdict::{self, Bogus, Indeterminate, Insecure, Secure};
use crate::lies::{self, Liar};
use crate::zones::{Ds, Sign};

/// How a zone proves absences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    Nsec,
    Nsec3,
    OptOut,
}

impl Denial {
    /// For dnssec-signzone.
    pub(crate) const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Nsec => &[],
            Self::Nsec3 => &["-3", "-", "-H", "0"],
            Self::OptOut => &["-3", "aabbccdd", "-H", "2", "-A"],
        }
    }
}

/// A zone that is as it should be.
pub(crate) struct Good {
    pub(crate) label: &'static str,
    pub(crate) algorithm: Option<&'static str>,
    pub(crate) denial: Denial,
    pub(crate) tlds: &'static [&'static str],
    /// Every question, or a few.
    whole: bool,
}

const TEST: &[&str] = &["test."];
const EVERY: &[&str] = &["test.", "three.", "out."];

const fn good(label: &'static str, algorithm: &'static str, denial: Denial, whole: bool) -> Good {
    Good { label, algorithm: Some(algorithm), denial, tlds: TEST, whole }
}

pub(crate) const UNSIGNED: Sign = Sign { algorithm: None, words: &[], ds: Ds::Missing };

pub(crate) const GOOD: &[Good] = &[
    Good { label: "plain", algorithm: None, denial: Denial::Nsec, tlds: EVERY, whole: false },
    Good { tlds: EVERY, ..good("n13", "ECDSAP256SHA256", Denial::Nsec, true) },
    good("h13", "ECDSAP256SHA256", Denial::Nsec3, true),
    good("o13", "ECDSAP256SHA256", Denial::OptOut, true),
    good("n8", "RSASHA256", Denial::Nsec, true),
    good("h8", "RSASHA256", Denial::Nsec3, true),
    good("o8", "RSASHA256", Denial::OptOut, true),
    good("n15", "ED25519", Denial::Nsec, true),
    good("h15", "ED25519", Denial::Nsec3, false),
    good("o15", "ED25519", Denial::OptOut, false),
    good("n14", "ECDSAP384SHA384", Denial::Nsec, false),
    good("h14", "ECDSAP384SHA384", Denial::Nsec3, false),
    good("o14", "ECDSAP384SHA384", Denial::OptOut, false),
    good("n10", "RSASHA512", Denial::Nsec, false),
    good("h10", "RSASHA512", Denial::Nsec3, false),
    good("o10", "RSASHA512", Denial::OptOut, false),
    good("n16", "ED448", Denial::Nsec, false),
    good("n5", "RSASHA1", Denial::Nsec, false),
    good("h7", "NSEC3RSASHA1", Denial::Nsec3, false),
];

/// A name, a type, and the verdict with NSEC, with NSEC3, with opt-out.
type Question = (&'static str, &'static str, [Verdict; 3]);

const S: [Verdict; 3] = [Secure, Secure, Secure];
const I: [Verdict; 3] = [Insecure, Insecure, Insecure];
/// Secure, unless opt-out leaves room.
const O: [Verdict; 3] = [Secure, Secure, Insecure];

/// Some questions for every zone.
const FEW: &[Question] = &[
    ("www", "A", S),
    ("@", "MX", S),
    ("@", "DNSKEY", S),
    ("@", "DS", S),
    ("www", "TXT", S),
    ("nowhere", "A", O),
    ("x.wild", "A", O),
    ("x.wild", "TXT", O),
    ("www.sub", "A", I),
];

/// The rest.
const MORE: &[Question] = &[
    ("www", "AAAA", S),
    ("mail", "TXT", S),
    ("_sip._udp", "SRV", S),
    ("@", "SOA", S),
    ("@", "NS", S),
    ("@", "TXT", S),
    ("x.nowhere", "A", O),
    ("www.www", "A", O),
    ("x.y.wild", "A", O),
    ("wild", "A", S),
    ("*.wild", "A", S),
    ("*.wild", "TXT", S),
    ("ent", "A", S),
    ("x.ent", "A", O),
    ("x.star", "A", O),
    ("alias", "A", S),
    ("alias", "AAAA", S),
    ("alias", "TXT", S),
    ("alias", "CNAME", S),
    ("far", "A", S),
    ("loose", "A", I),
    ("gone", "A", O),
    ("x.old", "A", S),
    ("nowhere.old", "A", O),
    ("old", "A", S),
    ("old", "DNAME", S),
    ("sub", "DS", O),
    ("sub", "A", I),
    ("nowhere.sub", "A", I),
    ("www", "DS", S),
    ("nowhere", "DS", O),
];

impl Good {
    /// Whether a usual run has it: unsigned, or of the algorithm that most zones have, with each
    /// denial; and the one that is not supported.
    pub(crate) fn is_usual(&self) -> bool {
        matches!(self.algorithm, None | Some("ECDSAP256SHA256" | "ED448"))
    }

    pub(crate) fn ds(&self) -> Ds {
        if self.algorithm.is_some() { Ds::Right } else { Ds::Missing }
    }

    pub(crate) fn questions(&self, tld: &str) -> Vec<(&'static str, &'static str, Verdict)> {
        let more = if self.whole && tld == "test." { MORE } else { &[] };
        let all = FEW.iter().chain(more);
        let of_parent = |kind: &str, relative: &str| kind == "DS" && relative == "@";
        all.map(|(relative, kind, want)| {
            let want = match self.algorithm {
                None if of_parent(kind, relative) && tld != "out." => Secure,
                None => Insecure,
                Some(_) => want[self.denial as usize],
            };
            (*relative, *kind, want)
        })
        .collect()
    }
}

/// Questions of a zone that delegates.
pub(crate) fn of_tld(tld: &str) -> Vec<(&'static str, &'static str, Verdict)> {
    let open = if tld == "out." { Insecure } else { Secure };
    vec![
        ("nowhere", "A", open),
        ("x.y.nowhere", "A", open),
        ("@", "SOA", Secure),
        ("@", "DS", Secure),
        ("@", "DNSKEY", Secure),
        ("@", "A", Secure),
        ("nowhere", "DS", open),
    ]
}

/// A zone that is unusual.
pub(crate) struct Special {
    pub(crate) label: &'static str,
    pub(crate) sign: Sign,
    pub(crate) ask: &'static [(&'static str, &'static str)],
    pub(crate) want: Verdict,
}

const P256: Option<&str> = Some("ECDSAP256SHA256");
const PLAIN: Sign = Sign { algorithm: P256, words: &[], ds: Ds::Right };
const NSEC3: Sign = Sign { words: Denial::Nsec3.words(), ..PLAIN };
const BOTH: &[(&str, &str)] = &[("www", "A"), ("nowhere", "A")];
const ABSENT: &[(&str, &str)] = &[("nowhere", "A"), ("www", "TXT")];

const fn rounds(label: &'static str, words: &'static [&'static str], want: Verdict) -> Special {
    Special { label, sign: Sign { words, ..PLAIN }, ask: ABSENT, want }
}

const fn with_ds(label: &'static str, ds: Ds, want: Verdict) -> Special {
    Special { label, sign: Sign { ds, ..PLAIN }, ask: BOTH, want }
}

pub(crate) const SPECIAL: &[Special] = &[
    with_ds("ds384", Ds::Digest("SHA-384"), Secure),
    with_ds("ds1", Ds::Digest("SHA-1"), Secure),
    with_ds("one-wrong", Ds::OneWrong, Secure),
    with_ds("one-unknown", Ds::OneUnknown, Secure),
    with_ds("unknown-algorithm", Ds::UnknownAlgorithm, Insecure),
    with_ds("unknown-digest", Ds::UnknownDigest, Insecure),
    with_ds("no-ds", Ds::Missing, Insecure),
    rounds("rounds-1", &["-3", "ff", "-H", "1"], Secure),
    rounds("rounds-50", &["-3", "ff", "-H", "50"], Secure),
    rounds("rounds-51", &["-3", "ff", "-H", "51"], Secure),
    rounds("rounds-150", &["-3", "-", "-H", "150"], Secure),
    Special {
        label: "rsa512",
        sign: Sign { algorithm: Some("RSA512"), words: &["-P"], ds: Ds::Right },
        ask: BOTH,
        want: Secure,
    },
    Special {
        label: "rounds-150-there",
        sign: Sign { words: &["-3", "-", "-H", "150"], ..PLAIN },
        ask: &[("www", "A"), ("@", "MX")],
        want: Secure,
    },
    Special {
        label: "all-keys-sign",
        sign: Sign { words: &["-z"], ..PLAIN },
        ask: BOTH,
        want: Secure,
    },
];

/// A zone that is broken in one way, or one about which is lied without breaking it.
pub(crate) struct Broken {
    pub(crate) label: &'static str,
    pub(crate) sign: Sign,
    pub(crate) lie: Option<Liar>,
    pub(crate) ask: &'static [(&'static str, &'static str)],
    pub(crate) want: Verdict,
}

type Ask = &'static [(&'static str, &'static str)];
const ADDRESS: Ask = &[("www", "A")];
const NAME: Ask = &[("nowhere", "A")];
const TYPE: Ask = &[("www", "TXT")];
const EXPANDED: Ask = &[("x.wild", "A")];

const fn lie(label: &'static str, liar: Liar, ask: Ask, want: Verdict) -> Broken {
    Broken { label, sign: PLAIN, lie: Some(liar), ask, want }
}

const fn lie3(label: &'static str, liar: Liar, ask: Ask, want: Verdict) -> Broken {
    Broken { label, sign: NSEC3, lie: Some(liar), ask, want }
}

const fn signed(label: &'static str, words: &'static [&'static str], ask: Ask) -> Broken {
    Broken { label, sign: Sign { words, ..PLAIN }, lie: None, ask, want: Bogus }
}

const fn bad_ds(label: &'static str, ds: Ds) -> Broken {
    Broken { label, sign: Sign { ds, ..PLAIN }, lie: None, ask: BOTH, want: Bogus }
}

// `-P`: dnssec-signzone would rather not write them.
const PAST: &[&str] =
    &["-P", "-s", "20200101000000", "-e", "20200201000000", "-X", "20500101000000"];
const FUTURE: &[&str] = &["-P", "-s", "20500101000000", "-e", "20510101000000"];
const KEYS_PAST: &[&str] =
    &["-P", "-s", "20200101000000", "-X", "20200201000000", "-e", "20500101000000"];

pub(crate) const BROKEN: &[Broken] = &[
    // Nothing is wrong with these.
    lie("forged", lies::nothing, BOTH, Secure),
    lie3("forged3", lies::nothing, BOTH, Secure),
    lie("capitals", lies::capitals, ADDRESS, Secure),
    lie("longer-ttl", lies::longer_ttl, ADDRESS, Secure),
    lie("by-ksk", lies::by_ksk, ADDRESS, Secure),
    lie("bad-before-good", lies::bad_before_good, ADDRESS, Secure),
    lie("more-flags", lies::zsk_more_flags, ADDRESS, Secure),
    lie("no-sep", lies::ksk_no_sep, ADDRESS, Secure),
    lie("more-protocol", lies::more_protocol, ADDRESS, Secure),
    // The answer.
    lie("altered", lies::altered, ADDRESS, Bogus),
    lie("incomplete", lies::incomplete, ADDRESS, Bogus),
    lie("flipped", lies::flipped, ADDRESS, Bogus),
    lie("short", lies::short, ADDRESS, Bogus),
    signed("expired", PAST, BOTH),
    signed("not-yet", FUTURE, BOTH),
    signed("keys-expired", KEYS_PAST, BOTH),
    lie("backwards", lies::backwards, ADDRESS, Bogus),
    lie("by-parent", lies::by_parent, ADDRESS, Bogus),
    lie("as-parent", lies::as_parent, ADDRESS, Bogus),
    lie("as-owner", lies::as_owner, ADDRESS, Bogus),
    lie("more-labels", lies::more_labels, ADDRESS, Bogus),
    lie("fewer-labels", lies::fewer_labels, ADDRESS, Bogus),
    lie("labels-above", lies::labels_above_zone, ADDRESS, Bogus),
    lie("wrong-tag", lies::wrong_tag, ADDRESS, Bogus),
    lie("wrong-algorithm", lies::wrong_algorithm, ADDRESS, Bogus),
    lie("unknown-algorithm", lies::unknown_algorithm, ADDRESS, Bogus),
    lie("other-type", lies::other_type, ADDRESS, Bogus),
    lie("other-ttl", lies::other_ttl, ADDRESS, Bogus),
    lie("strip-all", lies::strip_all, BOTH, Bogus),
    lie("strip-answer", lies::strip_answer, ADDRESS, Bogus),
    lie("strip-alias", lies::strip_alias, &[("alias", "A"), ("x.old", "A")], Bogus),
    lie("target-altered", lies::altered, &[("alias", "A"), ("x.old", "A")], Bogus),
    // The keys.
    lie("keys-by-zsk", lies::keys_by_zsk, ADDRESS, Bogus),
    lie("keys-unsigned", lies::keys_unsigned, ADDRESS, Bogus),
    lie("no-ksk", lies::no_ksk, ADDRESS, Bogus),
    lie("no-zsk", lies::no_zsk, ADDRESS, Bogus),
    lie("zsk-no-zone-flag", lies::zsk_no_zone_flag, ADDRESS, Bogus),
    lie("zsk-revoked", lies::zsk_revoked, ADDRESS, Bogus),
    lie("zsk-protocol", lies::zsk_protocol, ADDRESS, Bogus),
    lie("ksk-no-zone-flag", lies::ksk_no_zone_flag, ADDRESS, Bogus),
    lie("ksk-revoked", lies::ksk_revoked, ADDRESS, Bogus),
    Broken {
        label: "no-keys",
        sign: Sign { algorithm: None, words: &[], ds: Ds::Right },
        lie: None,
        ask: BOTH,
        want: Bogus,
    },
    // The delegation.
    bad_ds("ds-other", Ds::Other),
    bad_ds("ds-tag", Ds::WrongTag),
    bad_ds("ds-algorithm", Ds::WrongAlgorithm),
    bad_ds("ds-sha1-beside", Ds::Sha1Beside),
    lie("ds-digest", lies::ds_digest, ADDRESS, Bogus),
    lie("ds-by-child", lies::ds_by_child, ADDRESS, Bogus),
    lie("ds-unsigned", lies::ds_unsigned, ADDRESS, Bogus),
    lie("ds-hidden", lies::ds_hidden, ADDRESS, Bogus),
    lie("ds-denied", lies::ds_denied_by_child, ADDRESS, Bogus),
    // Absence, by NSEC.
    lie("strip-denial", lies::strip_denial, ABSENT, Bogus),
    lie("strip-soa", lies::strip_soa, ABSENT, Bogus),
    lie("no-denial", lies::no_denial, ABSENT, Bogus),
    lie("gap", lies::nsec_gap, NAME, Bogus),
    lie("no-wildcard", lies::nsec_no_wildcard, NAME, Bogus),
    lie("no-cover", lies::nsec_no_cover, NAME, Bogus),
    lie("lists-type", lies::nsec_lists_type, TYPE, Bogus),
    lie("lists-alias", lies::nsec_lists_alias, TYPE, Bogus),
    lie("of-parent", lies::nsec_of_parent, &[("nowhere", "A"), ("@", "TXT")], Bogus),
    lie("of-cut", lies::nsec_of_cut, &[("x.www", "A"), ("www", "TXT")], Bogus),
    lie("of-open-cut", lies::nsec_of_open_cut, &[("x.www", "A"), ("www", "TXT")], Bogus),
    lie("of-dname", lies::nsec_of_dname, &[("x.www", "A")], Bogus),
    lie("of-wildcard", lies::nsec_of_wildcard, NAME, Bogus),
    lie("expanded", lies::no_denial, EXPANDED, Bogus),
    lie("expanded-stripped", lies::strip_denial, EXPANDED, Bogus),
    lie("expanded-no-type", lies::nsec_no_cover, &[("x.wild", "TXT")], Bogus),
    // Absence, by NSEC3.
    lie3("strip-denial3", lies::strip_denial, ABSENT, Bogus),
    lie3("no-denial3", lies::no_denial, ABSENT, Bogus),
    lie3("salt3", lies::nsec3_salt, ABSENT, Bogus),
    lie3("rounds3", lies::nsec3_rounds, ABSENT, Bogus),
    lie3("hash3", lies::nsec3_hash, ABSENT, Bogus),
    lie3("flags3", lies::nsec3_flags, ABSENT, Bogus),
    lie3("no-encloser3", lies::nsec3_no_encloser, NAME, Bogus),
    lie3("no-cover3", lies::nsec3_no_cover, NAME, Bogus),
    lie3("no-wildcard3", lies::nsec3_no_wildcard, NAME, Bogus),
    lie3("expanded3", lies::no_denial, EXPANDED, Bogus),
    lie3("claims-opt-out3", lies::nsec3_claims_opt_out, NAME, Insecure),
];

/// A difference, and why it is right.
pub(crate) struct Explained {
    /// The zones.
    pub(crate) zones: &'static [&'static str],
    /// Names and types; none: all.
    pub(crate) asked: &'static [(&'static str, &'static str)],
    pub(crate) delv: Verdict,
    pub(crate) unbound: Verdict,
    pub(crate) ours: Verdict,
    pub(crate) because: &'static str,
}

/// delv calls the absence proved, and would, as a resolver, not set AD.
const OPT_OUT: Explained = Explained {
    zones: &["o8.test.", "o10.test.", "o13.test.", "o14.test.", "o15.test.", "out."],
    asked: &[
        ("nowhere", "A"),
        ("x.nowhere", "A"),
        ("x.y.nowhere", "A"),
        ("www.www", "A"),
        ("x.ent", "A"),
        ("gone", "A"),
        ("nowhere.old", "A"),
        ("x.wild", "TXT"),
        ("sub", "DS"),
        ("plain", "DS"),
        ("nowhere", "DS"),
    ],
    delv: Secure,
    unbound: Insecure,
    ours: Insecure,
    because: "an absence by opt-out leaves room for unsigned names: no AD (RFC 5155 §9.2); delv \
              says that the records are validated, which they are",
};

pub(crate) const EXPLAINED: &[Explained] = &[
    OPT_OUT,
    Explained { zones: &["claims-opt-out3.broken."], asked: &[], ..OPT_OUT },
    Explained {
        zones: &["n16.test."],
        asked: &[
            ("www", "A"),
            ("@", "MX"),
            ("@", "DNSKEY"),
            ("www", "TXT"),
            ("nowhere", "A"),
            ("x.wild", "A"),
            ("x.wild", "TXT"),
        ],
        delv: Secure,
        unbound: Secure,
        ours: Insecure,
        because: "ring has no Ed448: as if unsigned, and said so (RFC 4035 §5.2)",
    },
    Explained {
        zones: &["rounds-51.test.", "rounds-150.test."],
        asked: &[],
        delv: Secure,
        unbound: Secure,
        ours: Insecure,
        because: "BIND 9.18 and Unbound compute up to 150 rounds; each may choose its limit, and \
                  zones should have none (RFC 9276 §3.1, §3.2)",
    },
    Explained {
        zones: &["rsa512.test."],
        asked: &[],
        delv: Secure,
        unbound: Secure,
        ours: Insecure,
        because: "ring checks no RSA key below 1024 bits: as if unsigned, and said so; RFC 5702 \
                  §2.1 allows 512",
    },
    Explained {
        zones: &["by-parent.broken."],
        asked: &[],
        delv: Secure,
        unbound: Secure,
        ours: Bogus,
        because: "the signer must be the zone of the records (RFC 4035 §5.3.1); a walk knows where \
                  the zone begins, a validator behind a resolver does not look",
    },
    Explained {
        zones: &["ksk-no-zone-flag.broken."],
        asked: &[],
        delv: Secure,
        unbound: Bogus,
        ours: Bogus,
        because: "a key that a DS record names must have the flag of a zone's key (RFC 4034 §5.2)",
    },
    Explained {
        zones: &["zsk-revoked.broken.", "ksk-revoked.broken."],
        asked: &[],
        delv: Bogus,
        unbound: Secure,
        ours: Bogus,
        because: "Unbound looks at the flag of revocation in trust anchors only (RFC 5011 §2.1)",
    },
    Explained {
        zones: &["ds-sha1-beside.broken."],
        asked: &[],
        delv: Bogus,
        unbound: Secure,
        ours: Bogus,
        because: "SHA-1 should be ignored beside SHA-256 (RFC 4509 §3); Unbound takes any that fit",
    },
    Explained {
        zones: &["strip-soa.broken."],
        asked: &[],
        delv: Indeterminate,
        unbound: Bogus,
        ours: Bogus,
        because: "delv leaves the answer pending where the SOA record alone is not signed",
    },
    Explained {
        zones: &["of-open-cut.broken."],
        asked: &[],
        delv: Insecure,
        unbound: Insecure,
        ours: Bogus,
        because: "the forged record says that an unsigned zone begins at the name; the answer is \
                  the signed zone's own and denies nothing, so it is not taken for that zone's",
    },
    Explained {
        zones: &["of-wildcard.broken."],
        asked: &[],
        delv: Bogus,
        unbound: Secure,
        ours: Bogus,
        because: "a wildcard expansion cannot deny; Unbound 1.17 accepts it",
    },
    Explained {
        zones: &["flags3.broken."],
        asked: &[],
        delv: Secure,
        unbound: Bogus,
        ours: Bogus,
        because: "NSEC3 records with unknown flags must be ignored (RFC 5155 §8.2)",
    },
];
