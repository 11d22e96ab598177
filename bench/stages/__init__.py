"""The pipeline's stages. Each reads files, writes files, and is called by one stage of dvc.yaml."""
