//! Who asks, and what they may do: credentials, tokens, policy. No network: keys and answers are handed in.
