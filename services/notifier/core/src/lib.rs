//! balefire-notifier-core
