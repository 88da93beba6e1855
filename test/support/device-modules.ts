/** Modules of the cloud kernel that tests of devices load, all in one initramfs: `guests.devices`. Debian's cloud kernel has ext4 built in. */
export const DEVICE_MODULES = ['ext4', 'virtio_net', 'af_packet', 'virtio_balloon', 'virtio_console', 'virtiofs', 'vmw_vsock_virtio_transport']
