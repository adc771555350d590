//! Which projects a list shows, and in what order. Pure.

use std::cmp::Ordering;

use model::{Phase, ProjectId, view::ProjectView};

/// Which rows a list shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Filter {
    /// Every row.
    #[default]
    All,
    /// Running, or on its way there.
    Running,
    /// Stopped or terminated, or on its way there.
    Stopped,
    /// In error.
    Attention,
}

impl Filter {
    /// All, in the order of the buttons.
    pub const ALL: [Self; 4] = [Self::All, Self::Running, Self::Stopped, Self::Attention];

    /// On its button.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::All => "All",
            Self::Running => "Running",
            Self::Stopped => "Stopped",
            Self::Attention => "Needs attention",
        }
    }

    /// Whether a sandbox in `phase` is shown.
    #[must_use]
    pub fn shows(self, phase: Phase) -> bool {
        match self {
            Self::All => true,
            Self::Running => matches!(phase, Phase::Creating | Phase::Starting | Phase::Running | Phase::Updating),
            Self::Stopped => matches!(phase, Phase::Stopping | Phase::Stopped | Phase::Terminating | Phase::Terminated),
            Self::Attention => phase == Phase::Error,
        }
    }
}

/// In what order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Sort {
    /// What fails first, then by the last change.
    #[default]
    Attention,
    /// The last change first.
    Changed,
    /// By name.
    Name,
    /// The newest first.
    Created,
}

impl Sort {
    /// All, in the order of the list.
    pub const ALL: [Self; 4] = [Self::Attention, Self::Changed, Self::Name, Self::Created];

    /// In the list.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Attention => "Needs attention first",
            Self::Changed => "Last change",
            Self::Name => "Name",
            Self::Created => "Created",
        }
    }

    fn order(self, a: &ProjectView, b: &ProjectView) -> Ordering {
        // The user's own doings, not what happens by itself: rows do not move under the pointer.
        let changed = || b.updated_at.cmp(&a.updated_at);
        let fine = |project: &ProjectView| project.sandbox.phase != Phase::Error;
        match self {
            Self::Attention => fine(a).cmp(&fine(b)).then_with(changed),
            Self::Changed => changed(),
            Self::Name => a.name.to_lowercase().cmp(&b.name.to_lowercase()),
            Self::Created => b.created_at.cmp(&a.created_at),
        }
    }

    /// As the choice is kept in the browser.
    #[must_use]
    pub fn key(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Changed => "changed",
            Self::Name => "name",
            Self::Created => "created",
        }
    }

    /// The one of that key, or the first.
    #[must_use]
    pub fn kept(key: Option<&str>) -> Self {
        Self::ALL.into_iter().find(|sort| key == Some(sort.key())).unwrap_or_default()
    }

    /// The one of that label, or the first.
    #[must_use]
    pub fn named(label: &str) -> Self {
        Self::ALL.into_iter().find(|sort| sort.label() == label).unwrap_or_default()
    }
}

/// The ids to show, in order. `query` is looked for in name and slug, without regard to case.
#[must_use]
pub fn arrange<'a>(
    projects: impl IntoIterator<Item = &'a ProjectView>,
    query: &str,
    filter: Filter,
    sort: Sort,
) -> Vec<ProjectId> {
    let query = query.trim().to_lowercase();
    let found = |project: &&ProjectView| {
        query.is_empty() || project.name.to_lowercase().contains(&query) || project.slug.contains(&query)
    };
    let mut shown: Vec<&ProjectView> =
        projects.into_iter().filter(|project| filter.shows(project.sandbox.phase)).filter(found).collect();
    shown.sort_by(|a, b| sort.order(a, b).then(a.id.cmp(&b.id)));
    shown.into_iter().map(|project| project.id).collect()
}

/// How many a filter shows.
#[must_use]
pub fn tally<'a>(projects: impl IntoIterator<Item = &'a ProjectView>, filter: Filter) -> usize {
    projects.into_iter().filter(|project| filter.shows(project.sandbox.phase)).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_order_is_found_again() {
        for sort in Sort::ALL {
            assert_eq!(Sort::kept(Some(sort.key())), sort);
            assert_eq!(Sort::named(sort.label()), sort);
        }
        assert_eq!((Sort::kept(None), Sort::kept(Some("size"))), (Sort::Attention, Sort::Attention));
    }
}
