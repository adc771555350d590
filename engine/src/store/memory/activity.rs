//! Reading what was told, and forgetting it.

use super::MemoryStore;
use crate::store::{StoreError, activity::Filter};
use jiff::Timestamp;
use model::{UserId, activity::ActivityView};

impl MemoryStore {
    pub(super) async fn read_activity(&self, owner: UserId, filter: &Filter) -> Result<Vec<ActivityView>, StoreError> {
        self.act(|state| {
            let own = state.told.iter().filter(|told| told.owner == owner && matches(filter, &told.view));
            let mut found: Vec<_> = own.map(|told| told.view.clone()).collect();
            found.sort_by_key(|view| std::cmp::Reverse(view.id));
            found.truncate(filter.limit);
            for view in &mut found {
                view.project_deleted = view.project_id.is_some_and(|id| !state.projects.contains_key(&id));
            }
            Ok(found)
        })
        .await
    }

    pub(super) async fn remove_activity(&self, before: Timestamp) -> Result<u64, StoreError> {
        self.act(|state| {
            let all = state.told.len();
            state.told.retain(|told| told.view.last_at >= before);
            Ok((all - state.told.len()) as u64)
        })
        .await
    }
}

fn matches(filter: &Filter, view: &ActivityView) -> bool {
    let Filter { project, kinds, actor, since, search, before, limit: _ } = filter;
    let words = || format!("{} {}", view.title, view.detail.as_deref().unwrap_or_default()).to_lowercase();
    project.is_none_or(|project| Some(project) == view.project_id)
        && (kinds.is_empty() || kinds.contains(&view.kind))
        && actor.as_ref().is_none_or(|actor| {
            *actor == view.actor.name || actor == view.actor.via.as_str() || view.actor.token.as_ref() == Some(actor)
        })
        && since.is_none_or(|since| view.last_at >= since)
        && search.as_ref().is_none_or(|search| words().contains(&search.to_lowercase()))
        && before.is_none_or(|before| view.id < before)
}
