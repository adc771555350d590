//! Why something is not as intended: one of a closed list, a plain sentence, and what to do next.

use crate::text::clean;
use serde::{Deserialize, Serialize};

/// The closed list. `kebab-case` on the wire and in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum CauseCode {
    /// A stage took longer than its limit, and nothing else is known.
    StageOverdue,
    /// A stop or termination took longer than its limit.
    LeaveOverdue,
    /// Volume or database of a deleted project could not be removed within the limit.
    DeletionOverdue,
    /// PostgreSQL does not answer.
    DatabaseUnreachable,
    /// PostgreSQL answers and refuses what is asked of it.
    DatabaseRefused,
    /// bubblewrap is not installed.
    IsolationMissing,
    /// bubblewrap is there and the kernel refuses it its namespaces.
    IsolationRefused,
    /// The agent's program is not there or cannot be run.
    AgentMissing,
    /// The sandbox runs and its agent does not answer.
    AgentSilent,
    /// The agent answers and no shell has started in the time that it has for that.
    ShellFailed,
    /// The sandbox ended by itself soon after its start, several times.
    CrashLoop,
    /// The sandbox ended by itself; it is being started again.
    EndedUnexpectedly,
    /// Somebody else deleted what keeps the sandbox running; it is made again.
    DeletedOutside,
    /// The kernel killed a process of it for want of memory.
    OutOfMemory,
    /// The sandbox is over its disk limit, or the machine's disk is full.
    DiskFull,
    /// The volume cannot be made or read.
    VolumeFailed,
    /// No way out of the sandbox could be set up.
    NetworkFailed,
    /// The limits of the machine's processes, files or host uids are used up.
    MachineExhausted,
    /// The keeper of the sandbox could not be started or does not answer.
    KeeperFailed,
    /// Something with our name in the world belongs to somebody else.
    NameTaken,
    /// The orchestrator itself cannot be reached.
    OrchestratorUnreachable,
    /// The orchestrator answers that it cannot answer now.
    OrchestratorBusy,
    /// The orchestrator does not know who we are: no credentials, wrong ones, or ones that are over.
    CredentialsRefused,
    /// The orchestrator knows us, and we may not do what we must.
    PermissionMissing,
    /// The place where everything is to be made is not there, or is going away.
    NamespaceMissing,
    /// No node has enough left of what the sandbox asks for.
    Unschedulable,
    /// There is room, and no node that may or can run the sandbox.
    NodeUnsuitable,
    /// The registry has no image of that name.
    ImageNotFound,
    /// The registry gives the image to nobody without credentials, or not to ours.
    ImageRefused,
    /// The image is still being fetched.
    ImageSlow,
    /// The image could not be fetched, for another reason, and is being tried again.
    ImageBackOff,
    /// What is given as the image's name is none.
    ImageNameInvalid,
    /// The image is not on the node, and may not be fetched.
    ImageAbsent,
    /// The image runs as root only.
    ImageNeedsRoot,
    /// What prepares the sandbox before its start has failed.
    InitFailed,
    /// The container runtime could not make or start the container.
    ContainerRefused,
    /// A Secret or a ConfigMap that the sandbox needs is not there.
    ConfigMissing,
    /// The node put the sandbox out, for want of something or for another one.
    Evicted,
    /// The node does not answer.
    NodeLost,
    /// The class of the volume does not exist, or none is named and there is no default.
    StorageClassMissing,
    /// The volume could not be provided yet.
    VolumePending,
    /// The volume's data is lost.
    VolumeLost,
    /// Somebody deletes the volume; it goes as soon as nothing uses it.
    VolumeLeaving,
    /// The volume is there and could not be mounted.
    MountFailed,
    /// A quota is used up.
    QuotaExceeded,
    /// A limit for a single object is below what is asked for.
    LimitRangeExceeded,
    /// A rule for what may run refuses the sandbox.
    AdmissionRefused,
    /// A field of an object was refused.
    ObjectRefused,
    /// The sandbox's account is not there.
    ServiceAccountMissing,
    /// The class of the Ingresses does not exist.
    IngressClassMissing,
    /// What makes the database says that it has failed.
    DatabaseFailed,
    /// The database is still being made.
    DatabaseSlow,
    /// There is no such repository, or it is private and not shown to us.
    RepositoryNotFound,
    /// The repository's host refuses who asks.
    RepositoryRefused,
    /// The repository's host does not answer.
    RepositoryUnreachable,
    /// The repository has no such branch.
    BranchMissing,
    /// The repository could not be cloned, for another reason.
    CloneFailed,
    /// Anything else, with its text; also what a newer version has a code of its own for.
    #[serde(other)]
    Unexpected,
}

impl CauseCode {
    /// As the API writes it.
    #[must_use]
    pub fn as_str(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Whether it is told of beside a sandbox that runs: something is wrong, and terminal and files work.
    #[must_use]
    pub fn goes_with_running(self) -> bool {
        matches!(self, Self::IngressClassMissing | Self::OutOfMemory | Self::NodeLost | Self::VolumeLeaving)
    }

    /// Whether waiting alone does not mend it, so that the phase is Error at once and not only when
    /// a deadline has passed.
    ///
    /// Not of these, though somebody may have to act: [`Self::Unschedulable`] (a node may be added, or another
    /// sandbox stopped), [`Self::VolumePending`] and [`Self::MountFailed`] (a node lets go of a volume only after
    /// minutes), [`Self::DatabaseFailed`] (seen to recover by itself), [`Self::IngressClassMissing`] (the sandbox
    /// runs without).
    #[must_use]
    pub fn blocks(self) -> bool {
        matches!(
            self,
            Self::IsolationMissing
                | Self::IsolationRefused
                | Self::AgentMissing
                | Self::CrashLoop
                | Self::DiskFull
                | Self::VolumeFailed
                | Self::MachineExhausted
                | Self::NameTaken
                | Self::ShellFailed
                | Self::DatabaseRefused
                | Self::StageOverdue
                | Self::LeaveOverdue
                | Self::DeletionOverdue
                | Self::CredentialsRefused
                | Self::PermissionMissing
                | Self::NamespaceMissing
                | Self::ImageNotFound
                | Self::ImageRefused
                | Self::ImageNameInvalid
                | Self::ImageAbsent
                | Self::ImageNeedsRoot
                | Self::InitFailed
                | Self::ContainerRefused
                | Self::ConfigMissing
                | Self::StorageClassMissing
                | Self::VolumeLost
                | Self::QuotaExceeded
                | Self::LimitRangeExceeded
                | Self::AdmissionRefused
                | Self::ObjectRefused
                | Self::ServiceAccountMissing
        )
    }
}

/// What happened and what to do, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cause {
    /// Which of the list.
    pub code: CauseCode,
    /// What happened, and why, in the past tense, naming the thing.
    pub message: String,
    /// What to do next, the likeliest mend first.
    pub next_steps: Vec<String>,
    /// The raw text, one fold away from the reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The HTTP status of the apiserver's answer that it was read from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes_status: Option<u16>,
}

impl Cause {
    /// A cause without raw text. What names or quotes others is [`clean`] in it, so that it can be stored.
    #[must_use]
    pub fn new(code: CauseCode, message: impl Into<String>, next_steps: &[&str]) -> Self {
        let next_steps = next_steps.iter().map(|step| clean(*step)).collect();
        Self { code, message: clean(message), next_steps, detail: None, kubernetes_status: None }
    }

    /// The same with the raw text.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(clean(detail));
        self
    }

    /// The same, from an apiserver's answer.
    #[must_use]
    pub fn answered(mut self, status: u16) -> Self {
        self.kubernetes_status = Some(status);
        self
    }

    /// The same, of one that was put together or read elsewhere.
    #[must_use]
    pub fn cleaned(self) -> Self {
        let Self { code, message, next_steps, detail, kubernetes_status } = self;
        let next_steps = next_steps.into_iter().map(clean).collect();
        Self { code, message: clean(message), next_steps, detail: detail.map(clean), kubernetes_status }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_of_a_newer_version_is_unexpected_and_its_message_is_kept() {
        let stored = r#"{"code":"of-a-newer-version","message":"The moon was full.","nextSteps":["Wait."]}"#;
        let cause: Cause = serde_json::from_str(stored).unwrap();
        assert_eq!(cause, Cause::new(CauseCode::Unexpected, "The moon was full.", &["Wait."]));
        for code in [CauseCode::Unexpected, CauseCode::NodeLost] {
            assert_eq!(serde_json::from_value::<CauseCode>(code.as_str().into()).unwrap(), code);
        }
    }

    #[test]
    fn what_a_program_wrote_can_be_stored() {
        let log = "begins\0\n\u{1b}[1mand fails";
        let cause = Cause::new(CauseCode::CrashLoop, "`a\0b` ended.", &["See \0."]).with_detail(log);
        let told = Cause {
            code: CauseCode::CrashLoop,
            message: "`a\u{fffd}b` ended.".to_owned(),
            next_steps: vec!["See \u{fffd}.".to_owned()],
            detail: Some("begins\u{fffd}\n\u{fffd}[1mand fails".to_owned()),
            kubernetes_status: None,
        };
        assert_eq!(cause, told);
        let read = Cause { detail: Some(log.to_owned()), ..cause };
        assert_eq!(read.cleaned(), told, "also of an older keeper's");
    }
}
