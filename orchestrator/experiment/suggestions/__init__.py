"""What a search trains: settings that are drawn, counted through, or suggested by how earlier ones ended."""
