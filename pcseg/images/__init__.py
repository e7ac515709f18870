"""Instance segmentation of images: Mask2Former of transformers, trained with the criteria of pcseg."""
