//! What happened, told to others: webhooks, audit log, preheat notifications.
