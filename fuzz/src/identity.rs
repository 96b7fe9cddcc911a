//! Readers of what a client says about its identity and of what it asks for.

use shoal_auth::{Action, Scope};

/// Scopes of a token request: what is accepted grants nothing to a repository that it does not name.
pub fn scopes(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut scopes = Vec::new();
    if Scope::parse_into(text, &mut scopes).is_err() {
        return;
    }
    for scope in scopes {
        let named = scope.as_repository();
        for other in ["zqz/other", "library/nginx"].map(|name| name.parse::<shoal_oci::Repository>()) {
            let Ok(other) = other else { continue };
            if named.as_ref() != Some(&other) {
                assert!(
                    ![Action::Pull, Action::Create, Action::Delete]
                        .iter()
                        .any(|action| scope.covers(*action, &other))
                );
            }
        }
    }
}
