# SPDX-License-Identifier: Apache-2.0
from m3net_tf.errors import M3NetError as M3NetError
from m3net_tf.frontend import FrontendConfig as FrontendConfig
from m3net_tf.frontend import frontend_preset as frontend_preset
from m3net_tf.frontend import log_mel as log_mel
from m3net_tf.models import build_model as build_model
from m3net_tf.models.diffres.network import diffres as diffres
from m3net_tf.runtime.classifier import Classification as Classification
from m3net_tf.runtime.classifier import Classifier as Classifier
from m3net_tf.training.run import Run as Run

__version__: str
