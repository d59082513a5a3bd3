"""What a board hands its guest: device tree, loaders, Linux boot protocols, fw_cfg."""
