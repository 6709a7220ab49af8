"""Three throw-away models that the contract must carry: two optimisers, one image without validation, two stages."""
