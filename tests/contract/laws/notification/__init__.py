"""Laws of the notification services: recording, dead letters, replay."""
