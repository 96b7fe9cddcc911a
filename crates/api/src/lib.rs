//! Sentences our processes say to one another: types, traits and thin clients, one file per listener.
