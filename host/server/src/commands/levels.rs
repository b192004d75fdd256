//! The feature level of a cluster as a person reads it: which it has, and who keeps it from rising. It does not know what a
//! level brings.

use quorate_client::admin::ClusterStatus;
use quorate_core::level::Level;
use serde_json::{Value, json};

/// What the members that answer say of levels.
pub struct Levels {
    /// The cluster's, as the member has it that has applied most.
    cluster: Level,
    /// The highest that one of them knows.
    newest: Level,
    /// Who knows less, or does not say: number, and what is known of it.
    held_back_by: Vec<(u64, String)>,
}

impl Levels {
    /// None without a cluster, or if nobody answers.
    pub fn of(status: &ClusterStatus) -> Option<Self> {
        status.cluster?;
        let found = || status.members.iter().filter_map(|line| line.status.as_ref().ok());
        let cluster = found().map(|one| one.cluster_level).max()?;
        let newest = found().map(|one| one.level).max()?;
        let mut held_back_by = Vec::new();
        if cluster < newest {
            for line in &status.members {
                match &line.status {
                    Ok(one) if one.level >= newest => {}
                    Ok(one) => {
                        let version = one.version.trim_start_matches("quorate/");
                        held_back_by.push((line.member, format!("{version}, level {}", one.level)));
                    }
                    Err(_) => held_back_by.push((line.member, "no answer".to_owned())),
                }
            }
        }
        Some(Self { cluster, newest, held_back_by })
    }

    /// For machines.
    pub fn as_json(&self) -> Value {
        let members: Vec<u64> = self.held_back_by.iter().map(|(member, _)| *member).collect();
        json!({ "cluster": self.cluster.0, "newest": self.newest.0, "held_back_by": members })
    }
}

impl std::fmt::Display for Levels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "level {}", self.cluster)?;
        if self.cluster >= self.newest {
            return Ok(());
        }
        let who: Vec<String> = self
            .held_back_by
            .iter()
            .map(|(member, what)| format!("member {member} ({what})"))
            .collect();
        match &who[..] {
            [] => write!(f, "; it is about to rise to {}", self.newest),
            [one] => write!(f, "; {one} holds it back"),
            several => write!(f, "; {} hold it back", several.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_client::Status;
    use quorate_client::admin::MemberLine;
    use quorate_core::ids::{Epoch, Term, Zxid};

    use super::*;

    fn line(member: u64, level: Option<u32>, cluster: u32) -> MemberLine {
        let status = |level| Status {
            member,
            version: "quorate/0.1.0".to_owned(),
            role: "follower".to_owned(),
            term: Term(1),
            epoch: Epoch(1),
            zxid: Zxid(1),
            leader: None,
            last_index: 1,
            committed_index: 1,
            applied_index: 1,
            digest: 0,
            sessions: 0,
            cpu_us: 0,
            memory_bytes: 0,
            uptime_ms: 0,
            disk_free_bytes: 0,
            level: Level(level),
            cluster_level: Level(cluster),
        };
        let status = level.map(status).ok_or_else(|| "not reached".to_owned());
        MemberLine { member, address: String::new(), is_voter: true, status }
    }

    fn shown(members: Vec<MemberLine>) -> String {
        let status = ClusterStatus {
            cluster: Some([1; 16]),
            asked: 1,
            leader: None,
            is_changing: false,
            trouble: String::new(),
            members,
        };
        Levels::of(&status).expect("somebody answers").to_string()
    }

    #[test]
    fn who_holds_the_level_back_is_named() {
        let all = |levels: [Option<u32>; 3], cluster| {
            shown((1..).zip(levels).map(|(member, level)| line(member, level, cluster)).collect())
        };
        assert_eq!(all([Some(1); 3], 1), "level 1");
        assert_eq!(
            all([Some(2), Some(1), Some(2)], 1),
            "level 1; member 2 (0.1.0, level 1) holds it back"
        );
        assert_eq!(
            all([Some(2), Some(1), None], 1),
            "level 1; member 2 (0.1.0, level 1), member 3 (no answer) hold it back"
        );
        assert_eq!(all([Some(2); 3], 1), "level 1; it is about to rise to 2");
        assert_eq!(all([Some(2), Some(2), None], 2), "level 2");
    }

    #[test]
    fn a_member_that_lags_does_not_make_the_level_lower() {
        assert_eq!(shown(vec![line(1, Some(2), 2), line(2, Some(2), 1)]), "level 2");
    }
}
