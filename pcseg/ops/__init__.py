"""Operations on points and voxels that know nothing of models."""
