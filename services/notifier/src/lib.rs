//! balefire-notifier
