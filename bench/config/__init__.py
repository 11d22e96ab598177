"""What people write: params.yaml and conf/, typed, validated once, and composed."""
